package io.jwegateway.sandbox;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.util.ArrayList;
import java.util.List;
import org.testcontainers.containers.GenericContainer;
import org.testcontainers.containers.output.OutputFrame;
import org.testcontainers.containers.wait.strategy.Wait;
import org.testcontainers.utility.DockerImageName;

/**
 * The sandbox in a container, for Testcontainers.
 *
 * <p>Other containers of its network reach the provider at {@code http://ALIAS:8090}. Its management interface has no
 * credential, so {@code withNetwork} opens it to every container of that network.
 */
public class JweGatewaySandboxContainer extends GenericContainer<JweGatewaySandboxContainer> {
    public static final int PROVIDER_PORT = 8090;
    public static final int MANAGEMENT_PORT = 8091;

    private final List<String> arguments;
    private JweGatewaySandbox sandbox;

    /** The image is the one that {@code deploy/docker/Dockerfile} builds. {@code arguments} are added to {@code sandbox}. */
    public JweGatewaySandboxContainer(DockerImageName image, String... arguments) {
        super(image);
        this.arguments = List.of(arguments);
        addExposedPorts(PROVIDER_PORT, MANAGEMENT_PORT);
        // The line is printed when both listeners serve.
        waitingFor(Wait.forLogMessage(".*\"management\".*", 1));
    }

    @Override
    protected void configure() {
        // The management interface checks `Host`: Docker may run on another host, and other containers use an alias.
        List<String> command = new ArrayList<>(List.of("sandbox", "--json", "--allow-remote-management"));
        command.addAll(List.of("--listen", "0.0.0.0:" + PROVIDER_PORT, "--management", "0.0.0.0:" + MANAGEMENT_PORT));
        command.addAll(List.of("--allowed-host", getHost()));
        getNetworkAliases().forEach(alias -> command.addAll(List.of("--allowed-host", alias)));
        command.addAll(arguments);
        withCommand(command.toArray(String[]::new));
    }

    @Override
    public void start() {
        super.start();
        String line = getLogs(OutputFrame.OutputType.STDOUT).lines()
            .filter(text -> text.contains("\"management\""))
            .findFirst()
            .orElseThrow(() -> new IllegalStateException("the container did not print the line of `sandbox --json`"));
        try {
            sandbox = JweGatewaySandbox.connect(line, url(PROVIDER_PORT), url(MANAGEMENT_PORT));
        } catch (IOException error) {
            throw new UncheckedIOException("the line of `sandbox --json` is not JSON: " + line, error);
        }
    }

    /** The started sandbox: its addresses as this JVM reaches them, its credentials and its operations. */
    public JweGatewaySandbox sandbox() {
        return sandbox;
    }

    private String url(int port) {
        return "http://" + getHost() + ":" + getMappedPort(port);
    }
}
