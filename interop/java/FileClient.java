import java.io.BufferedReader;
import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.EnumSet;
import java.util.HashMap;
import java.util.Map;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.client.HdfsDataOutputStream;
import org.apache.hadoop.hdfs.protocol.DatanodeInfo;
import org.apache.hadoop.hdfs.protocol.LocatedBlock;
import org.apache.hadoop.hdfs.protocol.LocatedBlocks;

/**
 * Does to files what stdin says, a line each, and answers each line with one: "ok ..." or "error CLASS: MESSAGE".
 *
 * Every byte of a file follows from its position, so that whoever reads it can tell whether it is whole.
 */
public class FileClient {
  private final DistributedFileSystem fs;
  private final Map<String, FSDataOutputStream> open = new HashMap<>();

  private FileClient(DistributedFileSystem fs) {
    this.fs = fs;
  }

  public static void main(String[] args) throws Exception {
    FileClient client = new FileClient((DistributedFileSystem) FileSystem.get(new HdfsConfiguration()));
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String answer;
      try {
        answer = ("ok " + client.serve(line.split(" "))).trim();
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
    // Files that are still open stay so, as if the process had been killed.
    Runtime.getRuntime().halt(0);
  }

  private String serve(String[] words) throws Exception {
    Path path = new Path(words[1]);
    int number = words.length > 2 ? Integer.parseInt(words[2]) : 0;
    switch (words[0]) {
      case "create": // so many bytes, flushed
        open.put(words[1], fs.create(path));
        return write(words[1], 0, number);
      case "append":
        long length = fs.getFileStatus(path).getLen();
        open.put(words[1], fs.append(path));
        return write(words[1], length, number);
      case "append-new-block":
        length = fs.getFileStatus(path).getLen();
        open.put(words[1], fs.append(path, EnumSet.of(CreateFlag.APPEND, CreateFlag.NEW_BLOCK), 4096, null));
        return write(words[1], length, number);
      case "write":
        return write(words[1], open.get(words[1]).getPos(), number);
      case "close":
        open.remove(words[1]).close();
        return "";
      case "truncate": // to this length: "true" when it is done
        return String.valueOf(fs.truncate(path, number));
      case "recover": // until it is closed
        for (int n = 0; !fs.recoverLease(path); n++) {
          if (n == 300) {
            throw new IOException("not closed");
          }
          Thread.sleep(200);
        }
        return "";
      case "nodes": // the ports of the DataNodes of the last block
        return nodes(words[1]);
      case "replicated": // until each block has so many replicas
        for (int n = 0; fewest(words[1]) != number; n++) {
          if (n == 300) {
            throw new IOException(fewest(words[1]) + " replicas");
          }
          Thread.sleep(200);
        }
        return "";
      case "read": // the length, and whether it is whole
        return read(path);
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }

  private static byte at(long position) {
    return (byte) (position * 31 + (position >> 8));
  }

  /** Answers how many DataNodes the pipeline has. */
  private String write(String name, long position, int count) throws IOException {
    FSDataOutputStream out = open.get(name);
    if (count == 0) {
      return "0";
    }
    byte[] bytes = new byte[count];
    for (int n = 0; n < count; n++) {
      bytes[n] = at(position + n);
    }
    out.write(bytes);
    out.hflush();
    return String.valueOf(((HdfsDataOutputStream) out).getCurrentBlockReplication());
  }

  private LocatedBlocks blocks(String name) throws IOException {
    LocatedBlocks blocks = fs.getClient().getLocatedBlocks(name, 0);
    if (blocks == null) {
      throw new FileNotFoundException(name);
    }
    return blocks;
  }

  private String nodes(String name) throws IOException {
    StringBuilder ports = new StringBuilder();
    for (DatanodeInfo node : blocks(name).getLastLocatedBlock().getLocations()) {
      ports.append(node.getXferPort()).append(' ');
    }
    return ports.toString();
  }

  private int fewest(String name) throws IOException {
    int fewest = Integer.MAX_VALUE;
    for (LocatedBlock block : blocks(name).getLocatedBlocks()) {
      fewest = Math.min(fewest, block.getLocations().length);
    }
    return fewest;
  }

  private String read(Path path) throws IOException {
    long position = 0;
    byte[] buffer = new byte[64 << 10];
    try (FSDataInputStream in = fs.open(path)) {
      for (int count = in.read(buffer); count >= 0; count = in.read(buffer)) {
        for (int n = 0; n < count; n++) {
          if (buffer[n] != at(position + n)) {
            return position + n + " changed";
          }
        }
        position += count;
      }
    }
    return position + " whole";
  }
}
