import java.nio.file.Files;
import java.nio.file.Paths;
import java.util.Arrays;
import org.apache.hadoop.fs.FsShell;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.util.ToolRunner;

/** Runs a file of shell commands in one JVM: each line is the exit code expected and the command's words. */
public class ShellScript {
  public static void main(String[] args) throws Exception {
    HdfsConfiguration conf = new HdfsConfiguration();
    int wrong = 0;
    for (String line : Files.readAllLines(Paths.get(args[0]))) {
      String[] words = line.trim().split(" ");
      System.out.println("$ " + line);
      int code = ToolRunner.run(conf, new FsShell(), Arrays.copyOfRange(words, 1, words.length));
      if (code != Integer.parseInt(words[0])) {
        System.out.println("exit code " + code + " instead of " + words[0] + ": " + line);
        System.err.println("exit code " + code + " instead of " + words[0] + ": " + line);
        wrong++;
      }
    }
    System.exit(wrong == 0 ? 0 : 1);
  }
}
