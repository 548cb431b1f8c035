package org.testcontainers.utility;

public final class DockerImageName { }
