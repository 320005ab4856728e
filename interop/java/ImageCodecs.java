import java.io.ByteArrayOutputStream;
import java.io.DataOutputStream;
import java.io.File;
import java.io.FileOutputStream;
import java.io.RandomAccessFile;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.server.namenode.FSImageUtil;
import org.apache.hadoop.hdfs.server.namenode.FsImageProto.FileSummary;
import org.apache.hadoop.hdfs.tools.offlineImageViewer.OfflineImageViewerPB;
import org.apache.hadoop.io.compress.CompressionCodec;
import org.apache.hadoop.io.compress.CompressionOutputStream;
import org.apache.hadoop.util.ReflectionUtils;

/**
 * Shows images that somebody else has compressed, and compresses one itself.
 *
 * Arguments: an image that is not compressed, a directory, and names of codecs. In the directory, "plain.xml" becomes what
 * the viewer says of the image, "ours.CODEC.xml" what it says of "ours.CODEC", and "hadoops.CODEC" the image compressed.
 */
public class ImageCodecs {
  public static void main(String[] args) throws Exception {
    File dir = new File(args[1]);
    view(new File(args[0]), new File(dir, "plain.xml"));
    for (int n = 2; n < args.length; n++) {
      view(new File(dir, "ours." + args[n]), new File(dir, "ours." + args[n] + ".xml"));
      compress(new File(args[0]), new File(dir, "hadoops." + args[n]), "org.apache.hadoop.io.compress." + args[n]);
    }
  }

  private static void view(File image, File xml) throws Exception {
    int code = OfflineImageViewerPB.run(new String[] {"-p", "XML", "-i", image.getPath(), "-o", xml.getPath()});
    if (code != 0) {
      throw new IllegalStateException(image + " can't be shown");
    }
  }

  private static void compress(File from, File to, String codecClass) throws Exception {
    Configuration conf = new Configuration();
    Class<? extends CompressionCodec> type = conf.getClassByName(codecClass).asSubclass(CompressionCodec.class);
    CompressionCodec codec = ReflectionUtils.newInstance(type, conf);
    try (RandomAccessFile in = new RandomAccessFile(from, "r"); FileOutputStream out = new FileOutputStream(to)) {
      FileSummary summary = FSImageUtil.loadSummary(in);
      FileSummary.Builder compressed = summary.toBuilder().clearSections().setCodec(codecClass);
      out.write(FSImageUtil.MAGIC_HEADER);
      for (FileSummary.Section section : summary.getSectionsList()) {
        byte[] bytes = new byte[(int) section.getLength()];
        in.seek(section.getOffset());
        in.readFully(bytes);
        long start = out.getChannel().position();
        CompressionOutputStream stream = codec.createOutputStream(out);
        stream.write(bytes);
        stream.finish();
        stream.flush();
        long length = out.getChannel().position() - start;
        compressed.addSections(section.toBuilder().setOffset(start).setLength(length));
      }
      ByteArrayOutputStream tail = new ByteArrayOutputStream();
      compressed.build().writeDelimitedTo(tail);
      tail.writeTo(out);
      new DataOutputStream(out).writeInt(tail.size());
    }
  }
}
