// A client of another team: it seals with the package `jose`, and knows nothing of the gateway.
import { CompactEncrypt, importJWK } from "jose";

export class Client {
  constructor(sandbox) {
    this.sandbox = sandbox;
  }

  async renewToken() {
    const { token_url, client_id, client_secret } = this.sandbox;
    const body = JSON.stringify({ client_id, client_secret, grant_type: "client_credentials" });
    const response = await fetch(token_url, { method: "POST", headers: { "content-type": "application/json" }, body });
    this.token = (await response.json()).access_token;
    return response.status;
  }

  async fetchKey() {
    this.jwk = (await (await fetch(this.sandbox.jwks_url)).json()).keys[0];
  }

  async status(credentials_token) {
    if (!this.token) await this.renewToken();
    if (!this.jwk) await this.fetchKey();
    const body = await new CompactEncrypt(new TextEncoder().encode(JSON.stringify({ credentials_token })))
      .setProtectedHeader({ alg: "RSA-OAEP-256", enc: "A256CBC-HS512", typ: "JWE", kid: this.jwk.kid })
      .encrypt(await importJWK(this.jwk, "RSA-OAEP-256"));
    return this.post(body, "application/jose");
  }

  async post(body, type) {
    const headers = { "content-type": type, authorization: `Bearer ${this.token}` };
    const url = `${this.sandbox.provider}/v0/bank/credentials/status`;
    return (await fetch(url, { method: "POST", headers, body })).status;
  }
}
