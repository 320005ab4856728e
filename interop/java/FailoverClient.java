import java.io.InputStream;
import java.io.OutputStream;
import java.net.URI;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.HdfsConfiguration;

/**
 * Hadoop's own client under failovers: makes directories one after the other and writes one large file beside them,
 * until a line comes on stdin, then checks that everything acknowledged is there.
 *
 * Arguments: base directory, bytes per second of the large file (0: none), and the shortest gap told (100 ms).
 * Output: "ready", "gap MS" for each pause of more than that between two acknowledged calls, and at the end
 * "acknowledged N errors E longest MS lost L large BYTES ok|corrupt".
 */
public class FailoverClient {
  public static void main(String[] args) throws Exception {
    Path base = new Path(args[0]);
    long rate = Long.parseLong(args[1]);
    long shortest = args.length > 2 ? Long.parseLong(args[2]) : 100;
    Configuration conf = new HdfsConfiguration();
    FileSystem fs = FileSystem.get(URI.create(conf.get("fs.defaultFS")), conf);
    fs.mkdirs(base);
    boolean[] stop = new boolean[1];
    LargeFile large = new LargeFile(fs, new Path(base, "large"), rate, stop);
    Thread largeThread = new Thread(large);
    if (rate > 0) {
      largeThread.start();
    }
    Thread waiter = new Thread(() -> {
      try {
        System.in.read();
      } catch (java.io.IOException e) {
        // The one who asked is gone: stop, too.
      }
      synchronized (stop) {
        stop[0] = true;
      }
    });
    waiter.setDaemon(true);
    waiter.start();

    List<Path> acknowledged = new ArrayList<>();
    long errors = 0;
    long longest = 0;
    long last = System.nanoTime();
    System.out.println("ready");
    System.out.flush();
    for (long n = 0; ; n++) {
      synchronized (stop) {
        if (stop[0]) {
          break;
        }
      }
      Path path = new Path(base, "d" + n / 1000 + "/x" + n);
      try {
        if (fs.mkdirs(path)) {
          acknowledged.add(path);
        }
      } catch (Exception e) {
        errors++;
        System.out.println("error " + e.toString().split("\n")[0]);
      }
      long now = System.nanoTime();
      long gap = (now - last) / 1_000_000;
      if (gap > shortest) {
        System.out.println("gap " + gap);
        System.out.flush();
      }
      longest = Math.max(longest, gap);
      last = now;
    }
    String largeResult = "large 0 ok";
    if (rate > 0) {
      largeThread.join();
      largeResult = "large " + large.check();
    }
    long lost = 0;
    java.util.HashSet<Path> found = new java.util.HashSet<>();
    for (FileStatus group : fs.listStatus(base)) {
      if (group.isDirectory()) {
        for (FileStatus entry : fs.listStatus(group.getPath())) {
          found.add(Path.getPathWithoutSchemeAndAuthority(entry.getPath()));
        }
      }
    }
    for (Path path : acknowledged) {
      if (!found.contains(path)) {
        lost++;
      }
    }
    System.out.println("acknowledged " + acknowledged.size() + " errors " + errors + " longest " + longest
        + " lost " + lost + " " + largeResult);
    System.exit(0);
  }

  /** One file, written at a steady rate with a sequence that can be computed again. */
  private static final class LargeFile implements Runnable {
    private static final int CHUNK = 64 * 1024;
    private final FileSystem fs;
    private final Path path;
    private final long rate;
    private final boolean[] stop;
    private long written;
    private Exception failure;

    LargeFile(FileSystem fs, Path path, long rate, boolean[] stop) {
      this.fs = fs;
      this.path = path;
      this.rate = rate;
      this.stop = stop;
    }

    @Override
    public void run() {
      byte[] chunk = new byte[CHUNK];
      Random random = new Random(1);
      try (OutputStream out = fs.create(path, true, CHUNK, fs.getDefaultReplication(path), 4L << 20)) {
        long started = System.nanoTime();
        while (true) {
          synchronized (stop) {
            if (stop[0]) {
              break;
            }
          }
          random.nextBytes(chunk);
          out.write(chunk);
          written += CHUNK;
          long due = written * 1_000_000_000L / rate;
          long ahead = due - (System.nanoTime() - started);
          if (ahead > 0) {
            Thread.sleep(ahead / 1_000_000);
          }
        }
      } catch (Exception e) {
        // A stream that fails again when it is closed throws the same exception twice, which Java wraps.
        failure = e.getCause() instanceof Exception ? (Exception) e.getCause() : e;
      }
    }

    String check() throws Exception {
      if (failure != null) {
        return written + " failed " + failure.toString().split("\n")[0];
      }
      byte[] expected = new byte[CHUNK];
      byte[] actual = new byte[CHUNK];
      Random random = new Random(1);
      long length = 0;
      try (InputStream in = fs.open(path)) {
        for (; length < written; length += CHUNK) {
          random.nextBytes(expected);
          int got = in.readNBytes(actual, 0, CHUNK);
          if (got != CHUNK || !java.util.Arrays.equals(expected, actual)) {
            return length + " corrupt";
          }
        }
        return in.read() == -1 ? length + " ok" : length + " corrupt";
      }
    }
  }
}
