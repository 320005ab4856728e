import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.Constructor;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.tools.DFSAdmin;
import org.apache.hadoop.hdfs.tools.DFSck;
import org.apache.hadoop.hdfs.tools.DebugAdmin;
import org.apache.hadoop.hdfs.tools.GetConf;
import org.apache.hadoop.hdfs.tools.ECAdmin;
import org.apache.hadoop.hdfs.tools.GetGroups;
import org.apache.hadoop.hdfs.tools.StoragePolicyAdmin;
import org.apache.hadoop.util.Tool;
import org.apache.hadoop.util.ToolRunner;

/**
 * Hadoop's dfs, dfsadmin, ec, fsck, groups, storagepolicies, getconf and debug, many calls in one JVM, as a JVM of its own for each costs a second.
 *
 * A line of standard input is a call: what the tool reads from its own standard input, the tool, and its arguments, divided
 * by tabs; line feeds are written as \n. The answer is the tool's lines, each behind "out " or "err ", and its exit code
 * behind "exit ". What it logs is in neither.
 */
public class ShellCalls {
  public static void main(String[] args) throws Exception {
    PrintStream answers = new PrintStream(System.out, false, StandardCharsets.UTF_8);
    Configuration conf = new HdfsConfiguration();
    BufferedReader calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = calls.readLine(); line != null; line = calls.readLine()) {
      String[] parts = line.split("\t", -1);
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      ByteArrayOutputStream err = new ByteArrayOutputStream();
      PrintStream systemErr = System.err;
      System.setOut(new PrintStream(out, true, StandardCharsets.UTF_8));
      System.setErr(new PrintStream(err, true, StandardCharsets.UTF_8));
      System.setIn(new ByteArrayInputStream(parts[0].replace("\\n", "\n").getBytes(StandardCharsets.UTF_8)));
      int exit;
      try {
        // As System.exit cuts it.
        exit = ToolRunner.run(new HdfsConfiguration(conf), tool(parts[1], conf), Arrays.copyOfRange(parts, 2, parts.length)) & 0xff;
      } catch (Throwable uncaught) {
        System.err.println("Exception in thread \"main\" " + uncaught);
        exit = 1;
      }
      System.out.flush();
      System.setErr(systemErr);
      System.setOut(answers);
      print(answers, "out ", out);
      print(answers, "err ", err);
      answers.println("exit " + exit);
      answers.flush();
    }
  }

  static Tool tool(String name, Configuration conf) throws Exception {
    switch (name) {
      case "dfs":
        return new FsShell();
      case "dfsadmin":
        return new DFSAdmin();
      case "groups":
        return new GetGroups(conf);
      case "ec":
        return new ECAdmin(conf);
      case "storagepolicies":
        return new StoragePolicyAdmin(conf);
      case "getconf":
        // Its constructors are its package's.
        Constructor<GetConf> constructor = GetConf.class.getDeclaredConstructor(Configuration.class);
        constructor.setAccessible(true);
        return constructor.newInstance(conf);
      case "debug":
        return new DebugAdmin(conf);
      case "fsck":
        return new DFSck(conf, System.out);
      default:
        throw new IllegalArgumentException(name);
    }
  }

  static void print(PrintStream answers, String stream, ByteArrayOutputStream text) {
    text.toString(StandardCharsets.UTF_8).lines().forEach(line -> answers.println(stream + line));
  }
}
