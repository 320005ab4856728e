import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.ha.HAServiceProtocol;
import org.apache.hadoop.ha.HAServiceProtocol.RequestSource;
import org.apache.hadoop.ha.HAServiceProtocol.StateChangeRequestInfo;
import org.apache.hadoop.ha.HAServiceStatus;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.tools.DFSHAAdmin;
import org.apache.hadoop.hdfs.tools.NNHAServiceTarget;
import org.apache.hadoop.ipc.RemoteException;
import org.apache.hadoop.util.ToolRunner;

/**
 * Hadoop's haadmin, many calls in one JVM, as a JVM of its own for each costs a second.
 *
 * A line of standard input is a call: the configuration's directory, what the tool reads from its own standard input, and
 * its arguments, divided by tabs; line feeds are written as \n. The answer is the tool's lines, each behind "out " or
 * "err ", and its exit code behind "exit ". What it logs is in neither.
 *
 * "rpc METHOD SOURCE ID" as arguments is a call of HAServiceProtocol as it is; the answer is what it returns, or the
 * exception's class and the first line of its message.
 */
public class HaAdminCalls {
  public static void main(String[] args) throws Exception {
    PrintStream answers = System.out;
    BufferedReader calls = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    for (String line = calls.readLine(); line != null; line = calls.readLine()) {
      String[] parts = line.split("\t", -1);
      Configuration conf = new Configuration();
      for (String site : new String[] {"core-site.xml", "hdfs-site.xml"}) {
        conf.addResource(new Path(new File(parts[0], site).getAbsolutePath()));
      }
      String[] words = Arrays.copyOfRange(parts, 2, parts.length);
      ByteArrayOutputStream out = new ByteArrayOutputStream();
      ByteArrayOutputStream err = new ByteArrayOutputStream();
      PrintStream systemErr = System.err;
      System.setOut(new PrintStream(out, true));
      System.setErr(new PrintStream(err, true));
      System.setIn(new ByteArrayInputStream(parts[1].replace("\\n", "\n").getBytes(StandardCharsets.UTF_8)));
      int exit;
      try {
        if (words.length > 0 && words[0].equals("rpc")) {
          System.out.println(rpc(conf, words[1], words[2], words[3]));
          exit = 0;
        } else {
          // As System.exit cuts it.
          exit = ToolRunner.run(conf, new DFSHAAdmin(), words) & 0xff;
        }
      } catch (Throwable uncaught) {
        System.err.println("Exception in thread \"main\" " + uncaught);
        exit = 1;
      }
      System.setErr(systemErr);
      System.setOut(answers);
      print(answers, "out ", out);
      print(answers, "err ", err);
      answers.println("exit " + exit);
      answers.flush();
    }
  }

  static void print(PrintStream answers, String stream, ByteArrayOutputStream text) {
    text.toString(StandardCharsets.UTF_8).lines().forEach(line -> answers.println(stream + line));
  }

  static String rpc(Configuration conf, String method, String source, String id) throws Exception {
    try {
      HAServiceProtocol service = new NNHAServiceTarget(new HdfsConfiguration(conf), null, id).getProxy(conf, 60000);
      StateChangeRequestInfo info = new StateChangeRequestInfo(RequestSource.valueOf(source));
      switch (method) {
        case "transitionToActive":
          service.transitionToActive(info);
          return "ok";
        case "transitionToStandby":
          service.transitionToStandby(info);
          return "ok";
        case "transitionToObserver":
          service.transitionToObserver(info);
          return "ok";
        case "monitorHealth":
          service.monitorHealth();
          return "ok";
        case "getServiceStatus":
          HAServiceStatus status = service.getServiceStatus();
          return status.getState() + " " + status.isReadyToBecomeActive() + " " + status.getNotReadyReason();
        default:
          throw new IllegalArgumentException(method);
      }
    } catch (RemoteException refused) {
      return refused.getClassName() + ": " + refused.getMessage().lines().findFirst().orElse("");
    }
  }
}
