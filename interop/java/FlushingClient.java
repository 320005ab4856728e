import java.net.URI;
import java.util.Arrays;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.HdfsConfiguration;

/**
 * Writes so many bytes of 7, flushes them to the DataNodes, says "flushed" and waits to be killed.
 *
 * Arguments: path, and how many bytes.
 */
public class FlushingClient {
  public static void main(String[] args) throws Exception {
    Configuration conf = new HdfsConfiguration();
    FileSystem fs = FileSystem.get(URI.create(conf.get("fs.defaultFS")), conf);
    FSDataOutputStream out = fs.create(new Path(args[0]));
    byte[] bytes = new byte[Integer.parseInt(args[1])];
    Arrays.fill(bytes, (byte) 7);
    out.write(bytes);
    out.hflush();
    System.out.println("flushed");
    System.out.flush();
    System.in.read();
  }
}
