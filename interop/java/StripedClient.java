import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.EnumSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.ContentSummary;
import org.apache.hadoop.fs.CreateFlag;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;
import org.apache.hadoop.hdfs.protocol.HdfsFileStatus;
import org.apache.hadoop.hdfs.protocol.LocatedBlock;
import org.apache.hadoop.hdfs.protocol.LocatedBlocks;
import org.apache.hadoop.hdfs.protocol.LocatedStripedBlock;

/**
 * Writes and reads striped files as stdin says, a line each, and answers each line with one: "ok ..." or
 * "error CLASS: MESSAGE".
 */
public class StripedClient {
  private final DistributedFileSystem fs;

  private StripedClient(DistributedFileSystem fs) {
    this.fs = fs;
  }

  public static void main(String[] args) throws Exception {
    StripedClient client = new StripedClient((DistributedFileSystem) FileSystem.get(new HdfsConfiguration()));
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
    Runtime.getRuntime().halt(0);
  }

  private String serve(String[] words) throws Exception {
    switch (words[0]) {
      case "policy": // of a directory
        Path dir = new Path(words[1]);
        fs.enableErasureCodingPolicy(words[2]);
        fs.mkdirs(dir);
        fs.setErasureCodingPolicy(dir, words[2]);
        return "";
      case "write": // so many bytes
        try (FSDataOutputStream out = fs.create(new Path(words[1]))) {
          write(out, 0, Integer.parseInt(words[2]));
        }
        return "";
      case "append": // so many bytes more, in new groups
        Path path = new Path(words[1]);
        long length = fs.getFileStatus(path).getLen();
        EnumSet<CreateFlag> flags = EnumSet.of(CreateFlag.APPEND, CreateFlag.NEW_BLOCK);
        try (FSDataOutputStream out = fs.append(path, flags, 4096, null)) {
          write(out, length, Integer.parseInt(words[2]));
        }
        return "";
      case "leave": // so many bytes in a file that stays open
        write(fs.create(new Path(words[1])), 0, Integer.parseInt(words[2]));
        return "";
      case "read": // the length, and whether it is whole
        return read(new Path(words[1]));
      case "checksum": // of all bytes
        return String.valueOf(fs.getFileChecksum(new Path(words[1])));
      case "crc": // of all bytes, whatever they are divided into
        Configuration composite = new HdfsConfiguration();
        composite.set("dfs.checksum.combine.mode", "COMPOSITE_CRC");
        try (FileSystem other = FileSystem.newInstance(composite)) {
          return String.valueOf(other.getFileChecksum(new Path(words[1])));
        }
      case "recover": // the lease of an open file
        return String.valueOf(fs.recoverLease(new Path(words[1])));
      case "describe":
        return describe(words[1]);
      case "safe": // until nothing is awaited any more
        for (int n = 0; fs.setSafeMode(SafeModeAction.SAFEMODE_GET); n++) {
          if (n == 300) {
            throw new IOException("safe mode");
          }
          Thread.sleep(200);
        }
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

  /** Differs between cells, stripes and groups. */
  private static byte at(long position) {
    return (byte) (position * 31 + (position >> 8) + (position >> 20) * 7);
  }

  private static void write(FSDataOutputStream out, long position, int count) throws IOException {
    byte[] bytes = new byte[count];
    for (int n = 0; n < count; n++) {
      bytes[n] = at(position + n);
    }
    out.write(bytes);
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
      if (position > 0) {
        // Somewhere in the middle.
        long middle = position / 2;
        int count = in.read(middle, buffer, 0, (int) Math.min(buffer.length, position - middle));
        for (int n = 0; n < count; n++) {
          if (buffer[n] != at(middle + n)) {
            return middle + n + " changed";
          }
        }
      }
    }
    return position + " whole";
  }

  /** What the NameNode says of a file, but for where its blocks are. */
  private String describe(String name) throws IOException {
    HdfsFileStatus status = fs.getClient().getFileInfo(name);
    ContentSummary summary = fs.getContentSummary(new Path(name));
    LocatedBlocks blocks = fs.getClient().getLocatedBlocks(name, 0, Long.MAX_VALUE);
    StringBuilder told = new StringBuilder();
    told.append(status.getErasureCodingPolicy().getName()).append(" isErasureCoded=").append(status.isErasureCoded());
    told.append(" length=").append(status.getLen()).append(" replication=").append(status.getReplication());
    told.append(" blockSize=").append(status.getBlockSize());
    told.append(" summary=").append(summary.getLength()).append(',').append(summary.getSpaceConsumed());
    told.append(',').append(summary.getErasureCodingPolicy());
    told.append(" policy=").append(blocks.getErasureCodingPolicy().getName());
    for (LocatedBlock block : blocks.getLocatedBlocks()) {
      LocatedStripedBlock striped = (LocatedStripedBlock) block;
      told.append(' ').append(block.getBlock().getBlockId()).append('+').append(block.getStartOffset());
      told.append('+').append(block.getBlockSize()).append(":");
      byte[] indices = striped.getBlockIndices().clone();
      java.util.Arrays.sort(indices);
      told.append(java.util.Arrays.toString(indices).replace(" ", ""));
    }
    return told.toString();
  }
}
