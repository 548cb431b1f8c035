package org.testcontainers.containers.wait.strategy;

public class Wait {
    public static LogMessageWaitStrategy forLogMessage(String regEx, int times) {
        throw new UnsupportedOperationException();
    }
}
