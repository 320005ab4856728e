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
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.function.BooleanSupplier;
import java.util.stream.Stream;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.crypto.key.KeyProvider;
import org.apache.hadoop.crypto.key.kms.server.MiniKMS;
import org.apache.hadoop.fs.CommonConfigurationKeys;
import org.apache.hadoop.fs.CommonConfigurationKeysPublic;
import org.apache.hadoop.fs.StorageType;
import org.apache.hadoop.hdfs.client.HdfsUtils;
import org.apache.hadoop.hdfs.server.namenode.FSNamesystem;
import org.apache.hadoop.hdfs.server.namenode.NameNode;
import org.apache.hadoop.hdfs.server.namenode.NameNodeFromOutside;
import org.apache.hadoop.hdfs.server.protocol.NamenodeProtocols;
import org.apache.hadoop.security.UserGroupInformation;
import org.apache.hadoop.util.KMSUtil;

/**
 * Stands before the class of the same name on the class path, and starts a real cluster of Hathi's daemons with the settings
 * that a suite asks for. So Hadoop's published suites run on it unchanged.
 *
 * <p>The system property {@code hathi.binary} names the binary. Where a suite has its keys in a file, it gets a KMS in place of
 * the file, without keys at first: our NameNode takes no files.
 */
public class MiniDFSCluster implements AutoCloseable {
  /** Told to the suite when the cluster does not come up. */
  private static final int LINES_MAX = 200;
  private static final int ATTEMPTS = 20;
  /** A cluster takes 81 ports. Those above 30,000 are given out by the kernel. */
  private static final int PORT_FIRST = 20000;
  private static final int PORT_STEP = 100;
  private static final int PORT_RANGES = 99;
  /** The quickstart has its NameNodes' web servers so many ports after their RPC servers. */
  private static final int HTTP_PORT_AFTER = 10;
  private static final int POLL_MS = 50;
  private static final int POLLS = 1200;
  private static final AtomicInteger NEXT = new AtomicInteger(new Random().nextInt(PORT_RANGES));
  /** Settings that belong to the suite's own process, or that the cluster has its own values for. */
  private static final List<String> NOT_PASSED_ON =
      List.of("fs.defaultFS", "dfs.namenode.name.dir", "dfs.datanode.data.dir", "dfs.nameservices", "hadoop.tmp.dir");
  /** Stands before the system's {@code id}, and asks {@link UsersOfSuite} for a user's groups first. */
  private static final String ID = "#!/bin/bash\n"
      + "case $1 in -Gn*)\n"
      + "  exec 3<>/dev/tcp/127.0.0.1/%d && echo \"$3\" >&3 && IFS= read -r groups <&3\n"
      + "  if [ -n \"$groups\" ]; then printf %%s \"$groups\" | tr ' ' '\\0'; exit; fi\n"
      + "esac\n"
      + "PATH=${PATH#*:} exec id \"$@\"\n";
  private static final String KEY_PROVIDER = CommonConfigurationKeysPublic.HADOOP_SECURITY_KEY_PROVIDER_PATH;
  private static final List<String> NOT_PASSED_ON_BELOW =
      List.of("dfs.ha.namenodes.", "dfs.client.failover.proxy.provider.");

  /** As in Hadoop: what the cluster shall be. */
  public static class Builder {
    private final Configuration conf;
    private int datanodes = 1;
    private boolean format = true;
    private MiniDFSNNTopology topology;

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

    public Builder useConfiguredTopologyMappingClass(boolean wanted) {
      return this;
    }

    public Builder checkDataNodeHostConfig(boolean wanted) {
      return this;
    }

    /** A cluster is ready when its NameNode has left safe mode. */
    public Builder waitSafeMode(boolean wanted) {
      return this;
    }

    /** The port is one that no other cluster of the process had. */
    public Builder nameNodePort(int wanted) {
      return this;
    }

    public Builder racks(String[] names) {
      return this;
    }

    public Builder hosts(String[] names) {
      return this;
    }

    /** All storages are disks. */
    public Builder storageTypes(StorageType[][] types) {
      return this;
    }

    public Builder storageTypes(StorageType[] types) {
      return this;
    }

    public Builder storagesPerDatanode(int count) {
      return this;
    }

    /** One nameservice. */
    public Builder nnTopology(MiniDFSNNTopology wanted) {
      topology = wanted;
      return this;
    }

    /** Without a format, the cluster starts on what the last one left. */
    public Builder format(boolean wanted) {
      format = wanted;
      return this;
    }

    public MiniDFSCluster build() throws IOException {
      return new MiniDFSCluster(this);
    }
  }

  /** Where a suite may keep files of its own. */
  public static String getBaseDirectory() {
    return new File(System.getProperty("test.build.data", "target/test/data"), "dfs").getAbsolutePath() + File.separator;
  }

  /** As in Hadoop: a NameNode and its place in the topology. */
  public static class NameNodeInfo {
    public final NameNode nameNode;

    NameNodeInfo(NameNode nameNode) {
      this.nameNode = nameNode;
    }
  }

  private static Path last;
  private static MiniDFSCluster lastStarted;

  private final Configuration conf;
  private final Path dir;
  private final String nameservice;
  private final int namenodes;
  private final int datanodes;
  private Process process;
  private int port;
  private final KeyProvider provider;

  static {
    // As in Hadoop's class.
    org.apache.hadoop.fs.FileSystem.enableSymlinks();
  }

  private MiniDFSCluster(Builder wanted) throws IOException {
    conf = wanted.conf;
    provider = takeKeyProvider();
    datanodes = Math.max(wanted.datanodes, 1);
    // As in Hadoop's class: no client asks for more replicas than there can be.
    int replication = conf.getInt(DFSConfigKeys.DFS_REPLICATION_KEY, DFSConfigKeys.DFS_REPLICATION_DEFAULT);
    conf.setInt(DFSConfigKeys.DFS_REPLICATION_KEY, Math.min(replication, datanodes));
    nameservice = wanted.topology == null ? null : wanted.topology.getNameservices().get(0).getId();
    namenodes = wanted.topology == null ? 1 : wanted.topology.countNameNodes();
    if (wanted.format || last == null) {
      if (lastStarted == null || !lastStarted.process.isAlive()) {
        delete(last);
      }
      last = Files.createTempDirectory("hathi-suite-");
    }
    dir = last;
    // Suites may change who they are, and are the superuser of each cluster that they start.
    String me = UserGroupInformation.getLoginUser().getShortUserName();
    Path bin = Files.createTempDirectory("hathi-suite-bin-");
    Path id = Files.writeString(bin.resolve("id"), String.format(ID, UsersOfSuite.port()));
    Files.setPosixFilePermissions(id, PosixFilePermissions.fromString("rwxr-xr-x"));
    List<String> command = new ArrayList<>(List.of(
        System.getProperty("hathi.binary"), "quickstart",
        "--dir", dir.toString(), "--base-port", "",
        "--datanodes", String.valueOf(datanodes),
        // Users that a test makes are known at once.
        "--set", "hadoop.security.groups.cache.secs=1",
        "--set", "hadoop.security.groups.negative-cache.secs=0",
        // As in the hdfs-site.xml of the suites, which not every suite has read by now.
        "--set", "dfs.namenode.fs-limits.min-block-size=0"));
    if (nameservice == null) {
      command.add("--single");
    } else {
      command.addAll(List.of("--nameservice", nameservice, "--namenodes", String.valueOf(namenodes), "--journalnodes", "1"));
    }
    if (org.apache.hadoop.fs.FileSystem.areSymlinksEnabled()) {
      command.addAll(List.of("--set", "hathi.namenode.symlinks.enabled=true"));
    }
    for (Map.Entry<String, String> entry : conf) {
      String key = entry.getKey();
      String[] sources = conf.getPropertySources(key);
      String source = sources == null || sources.length == 0 ? "" : sources[sources.length - 1];
      boolean own = !source.endsWith("-default.xml");
      boolean known = key.startsWith("dfs.") || key.startsWith("fs.trash.") || key.startsWith("fs.protected.") || key.startsWith("net.topology.")
          || key.startsWith("hadoop.proxyuser.") || key.equals("hadoop.security.authorization")
          || key.equals("io.file.buffer.size") || key.equals(KEY_PROVIDER);
      if (own && known && NOT_PASSED_ON_BELOW.stream().noneMatch(key::startsWith) && !key.contains("address") && !NOT_PASSED_ON.contains(key)) {
        command.add("--set");
        command.add(key + "=" + entry.getValue());
      }
    }
    String said = "";
    for (int attempt = 0; attempt < ATTEMPTS; attempt++) {
      // Never twice the same: a client of this process may still have a connection to a cluster that has ended.
      port = PORT_FIRST + PORT_STEP * (NEXT.getAndIncrement() % PORT_RANGES);
      command.set(command.indexOf("--base-port") + 1, String.valueOf(port));
      ProcessBuilder builder = new ProcessBuilder(command).redirectErrorStream(true);
      builder.environment().put("HADOOP_USER_NAME", me);
      builder.environment().put("PATH", bin + ":" + System.getenv("PATH"));
      process = builder.start();
      lastStarted = this;
      Runtime.getRuntime().addShutdownHook(new Thread(this::shutdown));
      said = awaitReady();
      if (said == null) {
        tellAddresses();
        if (wanted.datanodes == 0) {
          // A quickstart has at least one. It is gone for good when the NameNode has forgotten it.
          down("datanode", 0);
          restartNameNode(0);
        }
        return;
      }
    }
    throw new IOException("the cluster is not up: " + said);
  }

  /** Null if the suite has no keys. */
  private KeyProvider takeKeyProvider() throws IOException {
    if (conf.get(KEY_PROVIDER, "").startsWith("jceks:")) {
      MiniKMS kms = new MiniKMS();
      kms.start();
      conf.set(KEY_PROVIDER, kms.getKMSUrl().toString().replace("http://", "kms://http@"));
    }
    return KMSUtil.createKeyProvider(conf, KEY_PROVIDER);
  }

  /** As that of Hadoop's NameNode in the same process. */
  public KeyProvider getKeyProvider() {
    return provider;
  }

  /** Null when it is up, otherwise what it said. */
  private String awaitReady() throws IOException {
    List<String> said = new ArrayList<>();
    BufferedReader out = new BufferedReader(new InputStreamReader(process.getInputStream(), StandardCharsets.UTF_8));
    for (String line = out.readLine(); line != null; line = out.readLine()) {
      if (line.startsWith("ready ")) {
        Thread drain = new Thread(() -> drain(out));
        drain.setDaemon(true);
        drain.start();
        return null;
      }
      if (said.size() < LINES_MAX) {
        said.add(line);
      }
    }
    process.destroy();
    return String.join(" | ", said);
  }

  private static void drain(BufferedReader out) {
    try {
      while (out.readLine() != null) { }
    } catch (IOException e) {
      // The cluster was ended.
    }
  }

  /** Sets what Hadoop's class sets for its clients. */
  private void tellAddresses() {
    if (nameservice == null) {
      conf.set(CommonConfigurationKeys.FS_DEFAULT_NAME_KEY, getURI().toString());
      conf.set(DFSConfigKeys.DFS_NAMENODE_HTTP_ADDRESS_KEY, httpAddress(0));
      return;
    }
    for (int index = 0; index < namenodes; index++) {
      String id = "nn" + (index + 1);
      conf.set(DFSUtil.addKeySuffixes(DFSConfigKeys.DFS_NAMENODE_RPC_ADDRESS_KEY, nameservice, id),
          "localhost:" + (port + index));
      conf.set(DFSUtil.addKeySuffixes(DFSConfigKeys.DFS_NAMENODE_HTTP_ADDRESS_KEY, nameservice, id),
          httpAddress(index));
    }
  }

  private String httpAddress(int namenode) {
    return "localhost:" + (port + HTTP_PORT_AFTER + namenode);
  }

  public String getHttpUri(int namenode) {
    return "http://" + httpAddress(namenode);
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

  public NameNode getNameNode(int index) {
    return NameNodeFromOutside.at(this, port + index, httpAddress(index));
  }

  public NameNode getNameNode() {
    return getNameNode(0);
  }

  public NameNodeInfo[] getNameNodeInfos(int nameserviceIndex) {
    NameNodeInfo[] all = new NameNodeInfo[namenodes];
    for (int index = 0; index < namenodes; index++) {
      all[index] = new NameNodeInfo(getNameNode(index));
    }
    return all;
  }

  public FSNamesystem getNamesystem() {
    return getNameNode().getNamesystem();
  }

  public NamenodeProtocols getNameNodeRpc() {
    return getNameNode().getRpcServer();
  }

  /** Kills a daemon, and keeps it down: the quickstart starts it again, and it finds no configuration. */
  private void down(String role, int index) throws IOException {
    String name = role + "-" + index;
    Files.move(dir.resolve("conf").resolve(name), dir.resolve("conf").resolve(name + ".down"));
    kill(name);
  }

  private void up(String role, int index) throws IOException {
    String name = role + "-" + index;
    Path away = dir.resolve("conf").resolve(name + ".down");
    if (Files.exists(away)) {
      Files.move(away, dir.resolve("conf").resolve(name));
    }
  }

  private void kill(String name) throws IOException {
    long pid = Long.parseLong(Files.readString(dir.resolve("run").resolve(name + ".pid")).trim());
    ProcessHandle.of(pid).ifPresent(ProcessHandle::destroyForcibly);
    await(name + " to end", () -> ProcessHandle.of(pid).isEmpty());
  }

  private static void await(String what, BooleanSupplier reached) throws IOException {
    for (int poll = 0; !reached.getAsBoolean(); poll++) {
      if (poll == POLLS) {
        throw new IOException("waited in vain for " + what);
      }
      try {
        Thread.sleep(POLL_MS);
      } catch (InterruptedException e) {
        throw new IllegalStateException(e);
      }
    }
  }

  public void shutdownDataNode(int index) throws IOException {
    down("datanode", index);
  }

  public void shutdownDataNodes() throws IOException {
    for (int index = 0; index < datanodes; index++) {
      if (Files.exists(dir.resolve("conf/datanode-" + index))) {
        down("datanode", index);
      }
    }
  }

  public void shutdownNameNode(int index) throws IOException {
    down("namenode", index);
  }

  /** The suite wants a NameNode without one. */
  private void forgetKeyProvider(int index) throws IOException {
    for (String place : List.of("namenode-" + index, "namenode-" + index + ".down")) {
      for (String name : List.of("core-site.xml", "hdfs-site.xml")) {
        Path site = dir.resolve("conf").resolve(place).resolve(name);
        if (Files.exists(site)) {
          Files.writeString(site, Files.readString(site).replaceAll("<value>kms://[^<]*</value>", "<value></value>"));
        }
      }
    }
  }

  /** Returns when it serves. */
  public void restartNameNode(int index, boolean waitActive, String... args) throws IOException {
    if (Files.exists(dir.resolve("conf/namenode-" + index))) {
      kill("namenode-" + index);
    }
    if (provider != null && conf.get(KEY_PROVIDER, "").isEmpty()) {
      forgetKeyProvider(index);
    }
    up("namenode", index);
    if (namenodes == 1) {
      await("the NameNode to be active", () -> HdfsUtils.isHealthy(getURI()));
    }
  }

  public void restartNameNode(String... args) throws IOException {
    restartNameNode(0);
  }

  public void restartNameNode(int index) throws IOException {
    restartNameNode(index, true);
  }

  public void restartNameNode(boolean waitActive) throws IOException {
    restartNameNode(0, waitActive);
  }

  public void restartNameNodes() throws IOException {
    restartNameNode(0);
  }

  /** Whoever else is active gives the role up. */
  public void transitionToActive(int index) throws IOException {
    String other = "nn" + (index == 0 ? 1 : 0);
    await("nn" + index + " to be active", () -> {
      if (isActive(index)) {
        return true;
      }
      haadmin("-failover", other, "nn" + index);
      return false;
    });
  }

  /** The other NameNode gets the role. */
  public void transitionToStandby(int index) throws IOException {
    transitionToActive(index == 0 ? 1 : 0);
  }

  private boolean isActive(int index) {
    return haadmin("-getServiceState", "nn" + index).equals("active");
  }

  private String haadmin(String... words) {
    List<String> command = new ArrayList<>(List.of(System.getProperty("hathi.binary"), "haadmin"));
    command.addAll(List.of(words));
    ProcessBuilder builder = new ProcessBuilder(command).redirectError(ProcessBuilder.Redirect.DISCARD);
    builder.environment().put("HADOOP_CONF_DIR", dir.resolve("conf").toString());
    try {
      return new String(builder.start().getInputStream().readAllBytes(), StandardCharsets.UTF_8).trim();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
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

  public void shutdown(boolean deleteDirectory, boolean closeFileSystem) {
    shutdown();
  }

  @Override
  public void close() {
    shutdown();
  }
}
