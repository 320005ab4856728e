import java.io.File;
import java.util.Arrays;
import org.apache.hadoop.hdfs.tools.offlineEditsViewer.OfflineEditsViewer;
import org.apache.hadoop.hdfs.tools.offlineImageViewer.OfflineImageViewerPB;
import org.apache.hadoop.util.ToolRunner;

/**
 * Shows many images and edits in one process.
 *
 * Argument: a directory. Of each "NAME.image" and "NAME.edits" in it, "NAME.image.xml" and "NAME.edits.xml" become the XML.
 */
public class Viewers {
  public static void main(String[] args) throws Exception {
    File[] files = new File(args[0]).listFiles();
    Arrays.sort(files);
    for (File file : files) {
      String path = file.getPath();
      int code = 0;
      if (path.endsWith(".image")) {
        code = OfflineImageViewerPB.run(new String[] {"-p", "XML", "-i", path, "-o", path + ".xml"});
      } else if (path.endsWith(".edits")) {
        code = ToolRunner.run(new OfflineEditsViewer(), new String[] {"-p", "xml", "-i", path, "-o", path + ".xml"});
      }
      if (code != 0) {
        throw new IllegalStateException(file + " can't be shown");
      }
    }
  }
}
