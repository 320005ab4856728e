import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.tools.federation.RouterAdmin;
import org.apache.hadoop.util.Tool;
import org.apache.hadoop.util.ToolRunner;

/**
 * Hadoop's "hdfs dfs", a command for each line of stdin, in one JVM; of "hdfs dfsrouteradmin" where a line begins so. Answers
 * each with a line: "ok " and what it printed, with blanks for line feeds, or "error " and what it told.
 */
public class ShellClient {
  private static final String ROUTER_ADMIN = "dfsrouteradmin ";

  public static void main(String[] args) throws Exception {
    PrintStream answers = System.out;
    HdfsConfiguration conf = new HdfsConfiguration();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      ByteArrayOutputStream err = new ByteArrayOutputStream();
      PrintStream standardErr = System.err;
      System.setOut(new PrintStream(out, true));
      System.setErr(new PrintStream(err, true));
      boolean ofRouter = line.startsWith(ROUTER_ADMIN);
      Tool tool = ofRouter ? new RouterAdmin(conf) : new FsShell();
      int code = ToolRunner.run(conf, tool, (ofRouter ? line.substring(ROUTER_ADMIN.length()) : line).split(" "));
      System.setOut(answers);
      System.setErr(standardErr);
      String told = code == 0 ? "ok " + out : "error " + code + " " + err;
      answers.println(told.replace('\n', ' ').trim());
      answers.flush();
    }
  }
}
