package org.testcontainers.containers.output;

public class OutputFrame {
    public enum OutputType { STDOUT, STDERR, END }
}
