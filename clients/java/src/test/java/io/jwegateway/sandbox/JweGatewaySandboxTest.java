package io.jwegateway.sandbox;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Map;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;

/** A client that is written with the JDK alone, against a sandbox that runs as a process. */
class JweGatewaySandboxTest {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final HttpClient HTTP = HttpClient.newHttpClient();
    private static JweGatewaySandbox sandbox;

    @BeforeAll
    static void start() throws Exception {
        sandbox = JweGatewaySandbox.start(binary(), "--seed", "7");
    }

    @AfterAll
    static void stop() throws Exception {
        sandbox.close();
    }

    @BeforeEach
    void reset() {
        sandbox.reset();
    }

    @Test
    void aSealedBodyIsOpenedAndRecorded() throws Exception {
        String credentials = sandbox.line().get("credentials_tokens").get(0).textValue();
        var response = status(seal(JSON.writeValueAsBytes(Map.of("credentials_token", credentials))));
        assertEquals(200, response.statusCode(), response.body());

        JsonNode call = sandbox.received(0, Duration.ofSeconds(2)).get(0);
        assertEquals("/v0/bank/credentials/status", call.get("target").textValue());
        assertEquals(newestKey().get("kid"), call.get("kid"));
        assertTrue(call.get("unopened").isNull());
        assertEquals("passed", sandbox.verdict().get("verdict").textValue());
    }

    @Test
    void aBodyInClearSpoilsTheVerdict() throws Exception {
        assertEquals(415, post("/v0/bank/credentials/status", "application/json", "{}", token()).statusCode());
        assertEquals("failed", sandbox.verdict().get("verdict").textValue());
    }

    @Test
    void aMessageForAWithdrawnKeyIsRefusedUntilTheClientFetchesTheKeySet() throws Exception {
        String body = "{\"credentials_token\":\"sandbox-credentials-1\"}";
        String before = seal(body.getBytes());
        String kid = sandbox.rotate(true);
        assertEquals(400, status(before).statusCode());
        assertEquals(kid, newestKey().get("kid").textValue());
        assertEquals(200, status(seal(body.getBytes())).statusCode());
    }

    @Test
    void aFaultAppliesAsOftenAsItWasArmed() throws Exception {
        sandbox.arm(Map.of("token", "server_error"), 1);
        assertEquals(500, requestToken().statusCode());
        assertEquals(200, requestToken().statusCode());
    }

    @Test
    void aRevokedTokenIsRefused() throws Exception {
        String token = token();
        sandbox.revokeTokens();
        assertEquals(401, status(seal("{}".getBytes()), token).statusCode());
        assertNotEquals(token, token());
    }

    @Test
    void theWorldCanBeReplacedAndIsRestoredByAReset() {
        JsonNode before = sandbox.world();
        ObjectNode changed = before.deepCopy();
        changed.withArray("/credentials").removeAll();
        sandbox.setWorld(changed);
        assertNotEquals(before, sandbox.world());
        sandbox.reset();
        assertEquals(before, sandbox.world());
    }

    @Test
    void anErrorOfTheManagementInterfaceHasItsText() {
        var error = assertThrows(IllegalStateException.class, () -> sandbox.manage("POST", "/retire", null));
        assertTrue(error.getMessage().contains("kid is missing"), error.getMessage());
    }

    @Test
    void aSandboxThatRunsElsewhereIsReachedByTheAddressesGiven() throws Exception {
        String line = sandbox.line().toString();
        String management = sandbox.line().get("management").textValue();
        var connected = JweGatewaySandbox.connect(line, "http://docker.example:49153", management);
        assertEquals("http://docker.example:49153", connected.provider());
        assertEquals(sandbox.clientSecret(), connected.clientSecret());
        assertEquals(sandbox.world(), connected.world());
        connected.close();
        assertTrue(sandbox.verdict().isObject(), "closing a connection must not end the process");
    }

    @Test
    void aWrongArgumentEndsTheStartWithAnError() {
        var error = assertThrows(IOException.class, () -> JweGatewaySandbox.start(binary(), "--no-such-option"));
        assertTrue(error.getMessage().contains("ended"), error.getMessage());
    }

    @Test
    void closeEndsTheProcess() throws Exception {
        var other = JweGatewaySandbox.start(binary());
        other.close();
        assertThrows(IllegalStateException.class, other::world);
        assertFalse(sandbox.world().isEmpty());
    }

    private static Path binary() {
        return Path.of(System.getenv().getOrDefault("JWE_GATEWAY_BIN", "jwe-gateway"));
    }

    private static JsonNode newestKey() throws Exception {
        var request = HttpRequest.newBuilder(URI.create(sandbox.line().get("jwks_url").textValue())).build();
        return JSON.readTree(HTTP.send(request, HttpResponse.BodyHandlers.ofString()).body()).get("keys").get(0);
    }

    private static String seal(byte[] body) throws Exception {
        return Jwe.seal(body, newestKey());
    }

    private static HttpResponse<String> requestToken() throws Exception {
        var body = Map.of("client_id", sandbox.clientId(), "client_secret", sandbox.clientSecret(), "grant_type", "client_credentials");
        return post("/v0/token", "application/json", JSON.writeValueAsString(body), null);
    }

    private static String token() throws Exception {
        return JSON.readTree(requestToken().body()).get("access_token").textValue();
    }

    private static HttpResponse<String> status(String message) throws Exception {
        return status(message, token());
    }

    private static HttpResponse<String> status(String message, String token) throws Exception {
        return post("/v0/bank/credentials/status", "application/jose", message, token);
    }

    private static HttpResponse<String> post(String path, String type, String body, String token) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(sandbox.provider() + path)).header("content-type", type);
        if (token != null) {
            request.header("authorization", "Bearer " + token);
        }
        return HTTP.send(request.POST(HttpRequest.BodyPublishers.ofString(body)).build(), HttpResponse.BodyHandlers.ofString());
    }
}
