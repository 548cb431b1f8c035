package org.testcontainers.containers.wait.strategy;

public class LogMessageWaitStrategy implements WaitStrategy { }
