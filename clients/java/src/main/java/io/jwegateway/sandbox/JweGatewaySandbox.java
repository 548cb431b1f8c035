package io.jwegateway.sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.ProxySelector;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;

/**
 * A running sandbox and the operations of its management interface. {@link #start} runs it as a process;
 * {@link JweGatewaySandboxContainer} runs it in a container.
 */
public final class JweGatewaySandbox implements AutoCloseable {
    private static final ObjectMapper JSON = new ObjectMapper();
    /** The addresses are on this machine or in Docker, so no proxy of the JVM may be used. */
    private static final HttpClient HTTP = HttpClient.newBuilder().proxy(ProxySelector.of(null)).build();

    private final JsonNode line;
    private final String provider;
    private final String management;
    private final Process process;

    private JweGatewaySandbox(JsonNode line, String provider, String management, Process process) {
        this.line = line;
        this.provider = provider != null ? provider : text(line, "provider");
        this.management = management != null ? management : text(line, "management");
        this.process = process;
    }

    /** Runs {@code binary} on free ports of 127.0.0.1 and waits until it serves. {@link #close} ends it. */
    public static JweGatewaySandbox start(Path binary, String... arguments) throws IOException {
        List<String> command = new ArrayList<>(List.of(binary.toString(), "sandbox", "--json"));
        command.addAll(List.of("--listen", "127.0.0.1:0", "--management", "127.0.0.1:0"));
        command.addAll(List.of(arguments));
        Process process = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.INHERIT).start();
        // With --json the sandbox writes this line to stdout and nothing else, so the pipe cannot fill up.
        String line = process.inputReader().readLine();
        if (line == null) {
            throw new IOException("jwe-gateway sandbox ended and was not ready; see its stderr");
        }
        return new JweGatewaySandbox(JSON.readTree(line), null, null, process);
    }

    /** A sandbox that runs elsewhere: the line of {@code sandbox --json}, and the addresses by which it is reached from here. */
    static JweGatewaySandbox connect(String line, String provider, String management) throws IOException {
        return new JweGatewaySandbox(JSON.readTree(line), provider, management, null);
    }

    /** The base URL of the simulated provider. */
    public String provider() {
        return provider;
    }

    public String clientId() {
        return text(line, "client_id");
    }

    public String clientSecret() {
        return text(line, "client_secret");
    }

    /** All members of the line of {@code sandbox --json}, with the addresses as the sandbox itself sees them. */
    public JsonNode line() {
        return line;
    }

    /** The recorded calls with a number above {@code after}. If there is none, it waits up to {@code wait} for one. */
    public JsonNode received(long after, Duration wait) {
        return manage("GET", "/received?after=" + after + "&wait=" + wait.toMillis() + "ms", null).get("requests");
    }

    /** Whether the client seals as the provider needs it: {@code verdict} is passed, failed or no requests. */
    public JsonNode verdict() {
        return manage("GET", "/verdict", null);
    }

    /** Publishes a new key and returns its kid. If {@code hard}, the older keys are removed at once. */
    public String rotate(boolean hard) {
        return text(manage("POST", "/rotate?overlap=" + !hard, null), "kid");
    }

    /** Makes all tokens invalid that were issued so far. */
    public void revokeTokens() {
        manage("POST", "/revoke-tokens", null);
    }

    /** Arms a fault for the next {@code times} requests, such as {@code Map.of("token", "server_error")}. */
    public void arm(Object fault, int times) {
        manage("POST", "/faults", Map.of("fault", fault, "times", times));
    }

    /** Restores the data, disarms all faults and forgets the recorded calls. The keys stay. */
    public void reset() {
        manage("POST", "/reset", null);
    }

    /** All data of the sandbox. Change it and give it to {@link #setWorld}. */
    public JsonNode world() {
        return manage("GET", "/world", null);
    }

    /** Replaces all data of the sandbox. */
    public void setWorld(JsonNode world) {
        manage("PUT", "/world", world);
    }

    /** Calls the management interface and returns its JSON. {@code docs/sandbox-reference.md} lists the operations. */
    public JsonNode manage(String method, String path, Object body) {
        try {
            byte[] json = body == null ? new byte[0] : JSON.writeValueAsBytes(body);
            var publisher = HttpRequest.BodyPublishers.ofByteArray(json);
            HttpRequest request = HttpRequest.newBuilder(URI.create(management + path)).method(method, publisher).build();
            HttpResponse<String> response = HTTP.send(request, HttpResponse.BodyHandlers.ofString());
            if (response.statusCode() != 200) {
                throw new IllegalStateException(method + " " + path + ": " + response.statusCode() + " " + response.body());
            }
            return JSON.readTree(response.body());
        } catch (IOException | InterruptedException error) {
            throw new IllegalStateException(method + " " + management + path + " failed", error);
        }
    }

    /** Ends the process, if {@link #start} started one. */
    @Override
    public void close() {
        if (process != null) {
            process.destroy();
            process.onExit().orTimeout(10, TimeUnit.SECONDS).join();
        }
    }

    private static String text(JsonNode members, String name) {
        return members.required(name).textValue();
    }
}
