package org.testcontainers.containers;

import java.util.List;
import org.testcontainers.containers.output.OutputFrame;
import org.testcontainers.containers.wait.strategy.WaitStrategy;
import org.testcontainers.utility.DockerImageName;

/** The signatures of Testcontainers 1.21 that the module uses, without behaviour. For a compiler that has no Testcontainers. */
public class GenericContainer<SELF extends GenericContainer<SELF>> {
    public GenericContainer(DockerImageName image) { }

    public void start() { }

    protected void configure() { }

    public void addExposedPorts(int... ports) { }

    public SELF withCommand(String... command) {
        throw new UnsupportedOperationException();
    }

    public SELF waitingFor(WaitStrategy strategy) {
        throw new UnsupportedOperationException();
    }

    public List<String> getNetworkAliases() {
        throw new UnsupportedOperationException();
    }

    public String getHost() {
        throw new UnsupportedOperationException();
    }

    public Integer getMappedPort(int port) {
        throw new UnsupportedOperationException();
    }

    public String getLogs(OutputFrame.OutputType... types) {
        throw new UnsupportedOperationException();
    }
}
