import java.io.BufferedReader;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.util.EnumSet;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.crypto.key.KeyProvider;
import org.apache.hadoop.fs.CommonConfigurationKeysPublic;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.XAttrSetFlag;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.client.CreateEncryptionZoneFlag;
import org.apache.hadoop.hdfs.client.HdfsAdmin;
import org.apache.hadoop.hdfs.protocol.EncryptionZone;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.ReencryptAction;
import org.apache.hadoop.hdfs.protocol.ZoneReencryptionStatus;
import org.apache.hadoop.util.KMSUtil;

/**
 * Java's client in encryption zones. Answers each line of stdin with one: "ok ..." or "error CLASS: MESSAGE".
 */
public class Zones {
  public static void main(String[] args) throws Exception {
    Configuration conf = new HdfsConfiguration();
    conf.setInt("dfs.replication", 1);
    DistributedFileSystem fs = (DistributedFileSystem) FileSystem.get(conf);
    HdfsAdmin admin = new HdfsAdmin(fs.getUri(), conf);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String answer;
      try {
        answer = ("ok " + serve(fs, admin, line.split(" "))).trim();
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
    System.exit(0);
  }

  /** Random bytes that only this number decides. */
  private static byte[] bytes(int seed, int length) {
    byte[] bytes = new byte[length];
    new Random(seed).nextBytes(bytes);
    return bytes;
  }

  private static String digest(byte[] bytes) throws Exception {
    StringBuilder hex = new StringBuilder();
    for (byte b : MessageDigest.getInstance("MD5").digest(bytes)) {
      hex.append(String.format("%02x", b));
    }
    return hex.toString();
  }

  /** The KMS. What is done with its keys is done at once. */
  private static KeyProvider keys(Configuration conf) throws Exception {
    return KMSUtil.createKeyProvider(conf, CommonConfigurationKeysPublic.HADOOP_SECURITY_KEY_PROVIDER_PATH);
  }

  private static String serve(DistributedFileSystem fs, HdfsAdmin admin, String[] words) throws Exception {
    Path path = words.length > 1 ? new Path(words[1]) : null;
    switch (words[0]) {
      case "key":
        keys(fs.getConf()).createKey(words[1], KeyProvider.options(fs.getConf()).setBitLength(128));
        return "";
      case "roll":
        keys(fs.getConf()).rollNewVersion(words[1]);
        return "";
      case "zone":
        fs.mkdirs(path);
        admin.createEncryptionZone(path, words[2], EnumSet.of(CreateEncryptionZoneFlag.PROVISION_TRASH));
        return "";
      case "zones": {
        StringBuilder all = new StringBuilder();
        RemoteIterator<EncryptionZone> zones = admin.listEncryptionZones();
        while (zones.hasNext()) {
          EncryptionZone zone = zones.next();
          all.append(zone.getPath()).append('=').append(zone.getKeyName()).append(' ');
        }
        return all.toString();
      }
      case "trash":
        return fs.getTrashRoot(path).toUri().getPath();
      case "write": {
        byte[] bytes = bytes(Integer.parseInt(words[2]), Integer.parseInt(words[3]));
        try (FSDataOutputStream out = fs.create(path)) {
          // A flush in the middle repeats the bytes of a chunk.
          out.write(bytes, 0, bytes.length / 3);
          out.hflush();
          out.write(bytes, bytes.length / 3, bytes.length - bytes.length / 3);
        }
        return digest(bytes);
      }
      case "append": {
        try (FSDataOutputStream out = fs.append(path)) {
          out.write(bytes(Integer.parseInt(words[2]), Integer.parseInt(words[3])));
        }
        return "";
      }
      case "read":
        try (InputStream in = fs.open(path)) {
          return digest(in.readAllBytes());
        }
      case "at":
        try (FSDataInputStream in = fs.open(path)) {
          byte[] bytes = new byte[Integer.parseInt(words[3])];
          in.readFully(Long.parseLong(words[2]), bytes);
          return digest(bytes);
        }
      case "version":
        return fs.getFileEncryptionInfo(path).getEzKeyVersionName();
      case "versions": { // of all files of a directory
        Set<String> all = new TreeSet<>();
        for (FileStatus status : fs.listStatus(path)) {
          if (status.isFile()) {
            all.add(fs.getFileEncryptionInfo(status.getPath()).getEzKeyVersionName());
          }
        }
        return String.join(" ", all);
      }
      case "attributes":
        return new TreeSet<>(fs.getXAttrs(path).keySet()).toString();
      case "exists":
        return String.valueOf(fs.exists(path));
      case "encrypted":
        return String.valueOf(fs.getFileStatus(path).isEncrypted());
      case "raw-copy": {
        // As DistCp does between clusters: bytes and attributes as they are.
        Path from = new Path("/.reserved/raw" + words[1]);
        Path to = new Path("/.reserved/raw" + words[2]);
        if (fs.getFileStatus(from).isDirectory()) {
          fs.mkdirs(to);
        } else {
          try (InputStream in = fs.open(from); FSDataOutputStream out = fs.create(to)) {
            out.write(in.readAllBytes());
          }
        }
        for (Map.Entry<String, byte[]> xattr : fs.getXAttrs(from).entrySet()) {
          fs.setXAttr(to, xattr.getKey(), xattr.getValue(), EnumSet.allOf(XAttrSetFlag.class));
        }
        return "";
      }
      case "rename":
        fs.rename(path, new Path(words[2]), org.apache.hadoop.fs.Options.Rename.NONE);
        return "";
      case "reencrypt":
        admin.reencryptEncryptionZone(path, ReencryptAction.valueOf(words[2]));
        return "";
      case "status": {
        StringBuilder all = new StringBuilder();
        RemoteIterator<ZoneReencryptionStatus> zones = admin.listReencryptionStatus();
        while (zones.hasNext()) {
          ZoneReencryptionStatus zone = zones.next();
          all.append(zone.getZoneName()).append('=').append(zone.getState()).append(':')
              .append(zone.getFilesReencrypted()).append(zone.isCanceled() ? ":canceled" : "").append(' ');
        }
        return all.toString();
      }
      default:
        throw new IllegalArgumentException(String.join(" ", words));
    }
  }
}
