package org.apache.hadoop.hdfs;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.URI;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.stream.Stream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.CommonConfigurationKeys;

/**
 * Stands before the class of the same name on the class path, and starts a real cluster of Hathi's daemons with the settings
 * that a suite asks for. So Hadoop's published suites run on it unchanged.
 *
 * <p>The system property {@code hathi.binary} names the binary.
 */
public class MiniDFSCluster implements AutoCloseable {
  /** Told to the suite when the cluster does not come up. */
  private static final int LINES_MAX = 200;
  private static final int ATTEMPTS = 20;
  /** A cluster takes 81 ports. Those above 30,000 are given out by the kernel. */
  private static final int PORT_FIRST = 20000;
  private static final int PORT_STEP = 100;
  private static final int PORT_RANGES = 99;
  private static final AtomicInteger NEXT = new AtomicInteger(new Random().nextInt(PORT_RANGES));
  /** Settings that belong to the suite's own process, or that the cluster has its own values for. */
  private static final List<String> NOT_PASSED_ON =
      List.of("fs.defaultFS", "dfs.namenode.name.dir", "dfs.datanode.data.dir", "dfs.nameservices", "hadoop.tmp.dir");

  /** As in Hadoop: what the cluster shall be. */
  public static class Builder {
    private final Configuration conf;
    private int datanodes = 1;
    private boolean format = true;

    public Builder(Configuration conf) {
      this.conf = conf;
    }

    public Builder(Configuration conf, File dir) {
      this(conf);
    }

    public Builder numDataNodes(int count) {
      datanodes = count;
      return this;
    }

    public Builder racks(String[] names) {
      return this;
    }

    public Builder hosts(String[] names) {
      return this;
    }

    /** Without a format, the cluster starts on what the last one left. */
    public Builder format(boolean wanted) {
      format = wanted;
      return this;
    }

    public MiniDFSCluster build() throws IOException {
      return new MiniDFSCluster(conf, datanodes, format);
    }
  }

  private static Path last;

  private final Configuration conf;
  private final Path dir;
  private Process process;
  private int port;

  private MiniDFSCluster(Configuration conf, int datanodes, boolean format) throws IOException {
    this.conf = conf;
    if (format || last == null) {
      delete(last);
      last = Files.createTempDirectory("hathi-suite-");
    }
    dir = last;
    List<String> command = new ArrayList<>(List.of(
        System.getProperty("hathi.binary"), "quickstart",
        "--dir", dir.toString(), "--base-port", "",
        "--namenodes", "1", "--journalnodes", "1", "--datanodes", String.valueOf(datanodes)));
    for (Map.Entry<String, String> entry : conf) {
      String key = entry.getKey();
      String[] sources = conf.getPropertySources(key);
      String source = sources == null || sources.length == 0 ? "" : sources[sources.length - 1];
      boolean own = !source.endsWith("-default.xml");
      boolean known = key.startsWith("dfs.") || key.startsWith("fs.trash.") || key.startsWith("net.topology.")
          || key.equals("hadoop.security.authorization");
      if (own && known && !key.contains("address") && !NOT_PASSED_ON.contains(key)) {
        command.add("--set");
        command.add(key + "=" + entry.getValue());
      }
    }
    String said = "";
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      // Never twice the same: a client of this process may still have a connection to a cluster that has ended.
      port = PORT_FIRST + PORT_STEP * (NEXT.getAndIncrement() % PORT_RANGES);
      command.set(command.indexOf("--base-port") + 1, String.valueOf(port));
      process = new ProcessBuilder(command).redirectErrorStream(true).start();
      Runtime.getRuntime().addShutdownHook(new Thread(this::shutdown));
      said = awaitReady();
      if (said == null) {
        conf.set(CommonConfigurationKeys.FS_DEFAULT_NAME_KEY, getURI().toString());
        return;
      }
    }
    throw new IOException("the cluster is not up: " + said);
  }

  /** Null when it is up, otherwise what it said. */
  private String awaitReady() throws IOException {
    List<String> said = new ArrayList<>();
    BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    for (String line = out.readLine(); line != null; line = out.readLine()) {
      if (line.startsWith("ready ")) {
        Thread drain = new Thread(() -> out.lines().forEach(rest -> { }));
        drain.setDaemon(true);
        drain.start();
        return null;
      }
      if (said.size() < LINES_MAX) {
        said.add(line);
      }
    }
    process.destroy();
    return String.join("\n", said);
  }

  public void waitClusterUp() {
  }

  public void waitActive() {
  }

  public URI getURI() {
    return URI.create("hdfs://localhost:" + port);
  }

  public URI getURI(int namenode) {
    return getURI();
  }

  public int getNameNodePort() {
    return port;
  }

  public Configuration getConfiguration(int namenode) {
    return conf;
  }

  public DistributedFileSystem getFileSystem() throws IOException {
    return (DistributedFileSystem) org.apache.hadoop.fs.FileSystem.newInstance(getURI(), conf);
  }

  public DistributedFileSystem getFileSystem(int namenode) throws IOException {
    return getFileSystem();
  }

  /** Ends every process. What they wrote stays until the next cluster is formatted, or this process ends. */
  public void shutdown() {
    process.destroy();
    try {
      process.waitFor();
    } catch (InterruptedException e) {
      throw new IllegalStateException(e);
    }
  }

  private static void delete(Path dir) {
    if (dir == null) {
      return;
    }
    try (Stream<Path> files = Files.walk(dir)) {
      files.sorted(Comparator.reverseOrder()).forEach(file -> file.toFile().delete());
    } catch (IOException | UncheckedIOException e) {
      System.err.println("can't delete " + dir + ": " + e);
    }
  }

  public void shutdown(boolean deleteDirectory) {
    shutdown();
  }

  @Override
  public void close() {
    shutdown();
  }
}
