import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URI;
import java.util.Arrays;
import java.util.HashSet;
import java.util.Set;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.HdfsConfiguration;

/**
 * Hadoop's client of WebHDFS. It gets the URI of the file system and a directory. It understands the orders of
 * interop/python/webhdfs_clients.py.
 */
public class WebHdfsClient {
  private final FileSystem fs;
  private final Path base;

  private WebHdfsClient(FileSystem fs, Path base) {
    this.fs = fs;
    this.base = base;
  }

  public static void main(String[] args) throws Exception {
    WebHdfsClient client = new WebHdfsClient(FileSystem.get(URI.create(args[0]), new HdfsConfiguration()), new Path(args[1]));
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String[] words = line.split(" ");
      int number = Integer.parseInt(words[1]);
      String answer;
      try {
        answer = words[0].equals("round") ? client.round(number) : client.verify(number);
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
  }

  private static byte[] content(int number) {
    byte[] bytes = new byte[20_000];
    for (int n = 0; n < bytes.length; n++) {
      bytes[n] = (byte) (number * 7 + n % 251);
    }
    return bytes;
  }

  private String round(int number) throws IOException {
    Path source = new Path(base, "new-" + number);
    Path target = new Path(base, String.valueOf(number));
    byte[] bytes = content(number);
    try (FSDataOutputStream out = fs.create(source, false)) {
      out.write(bytes, 0, bytes.length / 2);
    }
    try (FSDataOutputStream out = fs.append(source)) {
      out.write(bytes, bytes.length / 2, bytes.length / 2);
    }
    check(isWhole(source, number), source + " is not what was written");
    boolean renamed = fs.rename(source, target);
    // The second attempt of a rename finds that there is nothing to do, and is answered with false.
    check(renamed || fs.exists(target) && !fs.exists(source), source + " was not renamed");
    check(names().contains(target.getName()), target + " is not listed");
    return renamed ? "ok" : "ok again";
  }

  private String verify(int number) throws IOException {
    Set<String> names = names();
    for (int n = 0; n < number; n++) {
      Path path = new Path(base, String.valueOf(n));
      check(names.contains(path.getName()), path + " is lost");
      check(isWhole(path, n), path + " is not what was written");
    }
    return "ok";
  }

  private boolean isWhole(Path path, int number) throws IOException {
    byte[] expected = content(number);
    byte[] found = new byte[expected.length];
    try (FSDataInputStream in = fs.open(path)) {
      in.readFully(found);
      return Arrays.equals(expected, found) && in.read() < 0;
    }
  }

  private Set<String> names() throws IOException {
    Set<String> names = new HashSet<>();
    for (FileStatus status : fs.listStatus(base)) {
      names.add(status.getPath().getName());
    }
    return names;
  }

  private static void check(boolean holds, String otherwise) throws IOException {
    if (!holds) {
      throw new IOException(otherwise);
    }
  }
}
