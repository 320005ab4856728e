import java.io.BufferedReader;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.security.MessageDigest;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Options.Rename;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.XAttrSetFlag;
import org.apache.hadoop.fs.permission.AclEntry;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;
import org.apache.hadoop.hdfs.protocol.SnapshottableDirectoryStatus;

/**
 * Histories of snapshots, and what the snapshots show. Answers each line of stdin with one: "ok ..." or
 * "error CLASS: MESSAGE".
 */
public class Snapshots {
  private static final String[] NAMES = {"a", "b", "c"};
  private static final String[] ROOTS = {"/a", "/b"};
  private static final int BLOCK = 1024;
  private final DistributedFileSystem fs;
  private final Map<String, Integer> done = new TreeMap<>();
  private final List<FSDataOutputStream> open = new ArrayList<>();
  private Random random;

  private Snapshots() throws IOException {
    Configuration conf = new HdfsConfiguration();
    conf.setInt("dfs.blocksize", BLOCK);
    conf.setInt("dfs.replication", 1);
    conf.setInt("io.bytes.per.checksum", 512);
    fs = (DistributedFileSystem) FileSystem.get(conf);
  }

  public static void main(String[] args) throws Exception {
    Snapshots snapshots = new Snapshots();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String answer;
      try {
        answer = ("ok " + snapshots.serve(line.split(" "))).trim();
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
    System.exit(0);
  }

  private String serve(String[] words) throws Exception {
    switch (words[0]) {
      case "history":
        random = new Random(Long.parseLong(words[1]));
        for (String root : ROOTS) {
          fs.mkdirs(new Path(root));
          fs.allowSnapshot(new Path(root));
        }
        for (int i = 0; i < Integer.parseInt(words[2]); i++) {
          step();
        }
        return done.toString();
      case "show":
        return show(true).replace("\n", " | ");
      case "list":
        return show(false).replace("\n", " | ");
      case "snapshots":
        return String.join(" ", snapshots());
      case "delete":
        fs.deleteSnapshot(new Path(words[1]), words[2]);
        return "";
      case "save":
        fs.setSafeMode(SafeModeAction.SAFEMODE_ENTER);
        fs.saveNamespace();
        fs.setSafeMode(SafeModeAction.SAFEMODE_LEAVE);
        return "";
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }

  private interface Step {
    void run() throws IOException;
  }

  /** Whatever is refused is no part of the history. */
  private void attempt(String what, Step step) {
    try {
      step.run();
      done.merge(what, 1, Integer::sum);
    } catch (IOException e) {
      done.merge("not " + what, 1, Integer::sum);
    }
  }

  private Path path() {
    StringBuilder path = new StringBuilder();
    for (int depth = 1 + random.nextInt(3); depth > 0; depth--) {
      path.append('/').append(NAMES[random.nextInt(NAMES.length)]);
    }
    return new Path(path.toString());
  }

  private byte[] bytes() {
    byte[] bytes = new byte[random.nextInt(3 * BLOCK)];
    random.nextBytes(bytes);
    return bytes;
  }

  private void step() {
    Path one = path();
    Path two = path();
    int kind = random.nextInt(40);
    if (kind < 5) {
      attempt("mkdir", () -> fs.mkdirs(one));
    } else if (kind < 12) {
      attempt("create", () -> {
        try (FSDataOutputStream out = fs.create(one, false)) {
          out.write(bytes());
        }
      });
    } else if (kind < 16) {
      attempt("delete", () -> {
        if (!fs.delete(one, true)) {
          throw new FileNotFoundException();
        }
      });
    } else if (kind < 24) {
      attempt("rename", () -> fs.rename(one, two, Rename.OVERWRITE));
    } else if (kind < 26) {
      attempt("append", () -> {
        try (FSDataOutputStream out = fs.append(one)) {
          out.write(bytes());
        }
      });
    } else if (kind < 28) {
      attempt("truncate", () -> {
        if (!fs.truncate(one, random.nextInt(2 * BLOCK))) {
          waitFor(one);
        }
      });
    } else if (kind == 28) {
      attempt("setPermission", () -> fs.setPermission(one, new FsPermission((short) random.nextInt(0777))));
    } else if (kind == 29) {
      attempt("setReplication", () -> fs.setReplication(one, (short) (1 + random.nextInt(3))));
    } else if (kind == 30) {
      attempt("setXAttr", () -> fs.setXAttr(one, "user.n" + random.nextInt(2), new byte[] {(byte) random.nextInt()},
          EnumSet.of(XAttrSetFlag.CREATE, XAttrSetFlag.REPLACE)));
    } else if (kind == 31) {
      attempt("setAcl", () -> fs.modifyAclEntries(one, AclEntry.parseAclSpec("user:u" + random.nextInt(2) + ":r-x", true)));
    } else if (kind == 32) {
      attempt("concat", () -> fs.concat(one, new Path[] {two}));
    } else if (kind == 33) {
      attempt("setTimes", () -> fs.setTimes(one, random.nextInt(1 << 30), random.nextInt(1 << 30)));
    } else if (kind == 34) {
      attempt("setQuota", () -> fs.setQuota(one, 1000 + random.nextInt(9), 1L << 40));
    } else if (kind < 38) {
      Path root = new Path(ROOTS[random.nextInt(ROOTS.length)]);
      attempt("createSnapshot", () -> fs.createSnapshot(root, "s" + random.nextInt(6)));
    } else if (kind == 38) {
      Path root = new Path(ROOTS[random.nextInt(ROOTS.length)]);
      attempt("deleteSnapshot", () -> fs.deleteSnapshot(root, "s" + random.nextInt(6)));
    } else {
      attempt("open", () -> {
        FSDataOutputStream out = fs.create(one, false);
        open.add(out);
        out.write(bytes());
        out.hflush();
      });
    }
  }

  private void waitFor(Path file) throws IOException {
    for (int i = 0; i < 1000 && !fs.isFileClosed(file); i++) {
      try {
        Thread.sleep(20);
      } catch (InterruptedException e) {
        throw new IOException(e);
      }
    }
  }

  /** Each snapshot as a directory and a name. */
  private TreeSet<String> snapshots() throws IOException {
    TreeSet<String> found = new TreeSet<>();
    SnapshottableDirectoryStatus[] dirs = fs.getSnapshottableDirListing();
    for (SnapshottableDirectoryStatus dir : dirs == null ? new SnapshottableDirectoryStatus[0] : dirs) {
      for (FileStatus snapshot : fs.listStatus(new Path(dir.getFullPath(), ".snapshot"))) {
        found.add(dir.getFullPath() + " " + snapshot.getPath().getName());
      }
    }
    return found;
  }

  /** Everything that the snapshots and the present show, with or without the bytes. */
  private String show(boolean bytes) throws Exception {
    StringBuilder out = new StringBuilder();
    for (String snapshot : snapshots()) {
      show(new Path(snapshot.replace(" ", "/.snapshot/")), bytes, out);
    }
    show(new Path("/"), bytes, out);
    return out.toString();
  }

  private void show(Path path, boolean bytes, StringBuilder out) throws Exception {
    FileStatus status = fs.getFileStatus(path);
    out.append(path).append(' ').append(status.getPermission()).append(' ').append(status.getOwner());
    out.append(' ').append(status.getModificationTime()).append(' ').append(fs.getAclStatus(path).getEntries());
    for (Map.Entry<String, byte[]> xattr : new TreeMap<>(fs.getXAttrs(path)).entrySet()) {
      out.append(' ').append(xattr.getKey()).append('=').append(Arrays.toString(xattr.getValue()));
    }
    if (status.isFile()) {
      out.append(' ').append(status.getReplication()).append(' ').append(status.getLen());
      out.append(' ').append(bytes ? digest(path) : "");
    }
    out.append('\n');
    if (status.isDirectory()) {
      for (FileStatus child : fs.listStatus(path)) {
        show(child.getPath(), bytes, out);
      }
    }
  }

  private String digest(Path file) throws Exception {
    MessageDigest md5 = MessageDigest.getInstance("MD5");
    try (InputStream in = fs.open(file)) {
      byte[] buffer = new byte[BLOCK];
      for (int n = in.read(buffer); n >= 0; n = in.read(buffer)) {
        md5.update(buffer, 0, n);
      }
    }
    return Arrays.toString(md5.digest());
  }
}
