# Vault Agent beside the gateway, for example as two services of systemd. The agent renders the files; the gateway reads
# them again by itself, so there is no `command` that restarts it.

vault {
  address = "https://vault.internal:8200"
}

auto_auth {
  method "approle" {
    config = {
      role_id_file_path                   = "/etc/vault-agent/role_id"
      secret_id_file_path                 = "/etc/vault-agent/secret_id"
      remove_secret_id_file_after_reading = true
    }
  }
}

template_config {
  # For secrets without a lease, such as those of KV.
  static_secret_render_interval = "1m"
  exit_on_retry_failure         = true
}

# client_secret_file = "/run/jwe-gateway-secrets/client_secret"
# The agent runs with the group jwe-gateway-secrets. In the gateway's unit: SupplementaryGroups=jwe-gateway-secrets.
template {
  destination = "/run/jwe-gateway-secrets/client_secret"
  perms       = "0440"
  contents    = <<-EOT
    {{- with secret "secret/data/jwe-gateway/flanks" -}}{{ .Data.data.client_secret }}{{- end -}}
  EOT
}

# key_sha256_file = "/run/jwe-gateway-secrets/callers.sha256"
template {
  destination = "/run/jwe-gateway-secrets/callers.sha256"
  perms       = "0440"
  contents    = <<-EOT
    {{- with secret "secret/data/jwe-gateway/callers" -}}{{ .Data.data.sha256 }}{{- end -}}
  EOT
}
