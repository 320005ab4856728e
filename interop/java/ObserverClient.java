import java.util.UUID;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.server.namenode.ha.ObserverReadProxyProvider;

/**
 * A client that reads from an observer, beside one that only knows the active: looks for what the other one has made after
 * msync, and for what it has made and deleted itself.
 *
 * Arguments: the nameservice, and how many rounds. Output: "reads N stale M".
 */
public class ObserverClient {
  public static void main(String[] args) throws Exception {
    Configuration conf = new HdfsConfiguration();
    FileSystem other = FileSystem.newInstance(conf);
    Configuration reading = new Configuration(conf);
    reading.set("dfs.client.failover.proxy.provider." + args[0], ObserverReadProxyProvider.class.getName());
    FileSystem fs = FileSystem.newInstance(reading);
    Path base = new Path("/observer-" + UUID.randomUUID());
    int rounds = Integer.parseInt(args[1]);
    int stale = 0;
    for (int n = 0; n < rounds; n++) {
      Path others = new Path(base, "others" + n);
      other.mkdirs(others);
      fs.msync();
      stale += fs.exists(others) ? 0 : 1;
      Path own = new Path(base, "own" + n);
      fs.mkdirs(own);
      stale += fs.exists(own) ? 0 : 1;
      fs.delete(own, true);
      stale += fs.exists(own) ? 1 : 0;
    }
    System.out.println("reads " + 3 * rounds + " stale " + stale);
  }
}
