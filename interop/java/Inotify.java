import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Options.Rename;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.XAttrSetFlag;
import org.apache.hadoop.fs.permission.AclEntry;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DFSInotifyEventInputStream;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.client.HdfsAdmin;
import org.apache.hadoop.hdfs.inotify.Event;
import org.apache.hadoop.hdfs.inotify.EventBatch;
import org.apache.hadoop.hdfs.inotify.MissingEventsException;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;

/**
 * Follows a namespace with HdfsAdmin.getInotifyEventStream. Answers each line of stdin with one: "ok ..." or
 * "error CLASS: MESSAGE".
 */
public class Inotify {
  private static final int BLOCK = 1024;
  private static final int SMALL = 700;
  private final Configuration conf = new HdfsConfiguration();
  private final DistributedFileSystem fs;
  private final HdfsAdmin admin;
  private DFSInotifyEventInputStream stream;
  private long last;

  private Inotify() throws IOException {
    conf.setInt("dfs.blocksize", BLOCK);
    conf.setInt("dfs.replication", 1);
    conf.setInt("io.bytes.per.checksum", 512);
    fs = (DistributedFileSystem) FileSystem.get(conf);
    admin = new HdfsAdmin(fs.getUri(), conf);
  }

  public static void main(String[] args) throws Exception {
    Inotify inotify = new Inotify();
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String answer;
      try {
        answer = ("ok " + inotify.serve(line.split(" "))).trim();
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
    System.exit(0);
  }

  private String serve(String[] words) throws Exception {
    switch (words[0]) {
      case "now":
        stream = admin.getInotifyEventStream();
        return "";
      case "since":
        stream = admin.getInotifyEventStream(Long.parseLong(words[1]));
        return "";
      case "mkdirs":
        for (int i = Integer.parseInt(words[2]); i < Integer.parseInt(words[3]); i++) {
          fs.mkdirs(new Path(words[1], "d" + i));
        }
        return "";
      case "calls":
        calls();
        return "";
      case "until":
        return until(words[1]);
      case "last":
        return Long.toString(last);
      case "missing":
        return missing();
      case "save":
        fs.setSafeMode(SafeModeAction.SAFEMODE_ENTER);
        fs.saveNamespace();
        fs.setSafeMode(SafeModeAction.SAFEMODE_LEAVE);
        return "";
      case "as":
        return as(words[1]);
      default:
        throw new IllegalArgumentException(words[0]);
    }
  }

  /** What somebody else than the superuser is told. */
  private String as(String user) throws Exception {
    FileSystem theirs = FileSystem.get(FileSystem.getDefaultUri(conf), conf, user);
    try {
      ((DistributedFileSystem) theirs).getInotifyEventStream(1).poll();
      return "served";
    } catch (IOException e) {
      return String.valueOf(e.getMessage()).split("\n")[0];
    }
  }

  private void write(FSDataOutputStream out, int bytes) throws IOException {
    out.write(new byte[bytes]);
    out.close();
  }

  /** Each kind of call that changes something, the last of them a marker. */
  private void calls() throws Exception {
    Path dir = new Path("/i");
    Path file = new Path(dir, "file");
    fs.mkdirs(new Path("/i/one/two"), new FsPermission((short) 0750));
    write(fs.create(file, false), SMALL);
    write(fs.create(file, true), 2 * BLOCK);
    write(fs.append(file), 10);
    write(fs.append(file, EnumSet.of(org.apache.hadoop.fs.CreateFlag.APPEND,
        org.apache.hadoop.fs.CreateFlag.NEW_BLOCK), BLOCK, null), 10);
    fs.truncate(file, BLOCK);
    fs.truncate(file, 100);
    for (int i = 0; i < 1000 && !fs.isFileClosed(file); i++) {
      Thread.sleep(20);
    }
    fs.setReplication(file, (short) 2);
    fs.setPermission(file, new FsPermission((short) 01640));
    fs.setOwner(file, "u", null);
    fs.setOwner(file, null, "g");
    fs.setOwner(file, "v", "h");
    fs.setTimes(file, 1000, -1);
    fs.setTimes(file, -1, 2000);
    fs.setTimes(file, 3000, 4000);
    fs.setXAttr(file, "user.x", new byte[] {1, 2});
    fs.setXAttr(file, "user.empty", new byte[0]);
    fs.setXAttr(file, "user.x", new byte[] {3}, EnumSet.of(XAttrSetFlag.REPLACE));
    fs.removeXAttr(file, "user.x");
    fs.modifyAclEntries(file, AclEntry.parseAclSpec("user:a:r-x,group:b:rw-", true));
    fs.removeAclEntries(file, AclEntry.parseAclSpec("user:a", false));
    fs.setAcl(dir, AclEntry.parseAclSpec("user::rwx,group::r-x,other::---,default:user:c:r--", true));
    fs.removeDefaultAcl(dir);
    fs.removeAcl(file);
    fs.rename(file, new Path(dir, "moved"));
    write(fs.create(new Path(dir, "other"), false), SMALL);
    fs.rename(new Path(dir, "moved"), new Path(dir, "other"), Rename.OVERWRITE);
    for (String name : new String[] {"a", "b", "c"}) {
      write(fs.create(new Path(dir, name), false), BLOCK);
    }
    fs.concat(new Path(dir, "a"), new Path[] {new Path(dir, "b"), new Path(dir, "c")});
    fs.setQuota(dir, 1000, 1L << 40);
    fs.setStoragePolicy(dir, "HOT");
    fs.allowSnapshot(dir);
    fs.createSnapshot(dir, "s");
    fs.renameSnapshot(dir, "s", "t");
    fs.deleteSnapshot(dir, "t");
    fs.disallowSnapshot(dir);
    fs.delete(new Path(dir, "other"), false);
    fs.delete(new Path(dir, "one"), true);
    FSDataOutputStream lost = fs.create(new Path(dir, "lost"), false);
    lost.write(1);
    lost.hflush();
    lost.close();
    fs.mkdirs(new Path("/i/end"));
  }

  /** The events, up to the creation of this path, without times and transactions, which differ from run to run. */
  private String until(String path) throws Exception {
    List<String> told = new ArrayList<>();
    for (;;) {
      EventBatch batch = stream.poll(60, TimeUnit.SECONDS);
      if (batch == null) {
        throw new IOException("no event any more behind " + told);
      }
      if (batch.getTxid() <= last) {
        throw new IOException(batch.getTxid() + " behind " + last);
      }
      last = batch.getTxid();
      told.add(Arrays.stream(batch.getEvents()).map(Inotify::text).collect(Collectors.joining(" + ")));
      for (Event event : batch.getEvents()) {
        if (event instanceof Event.CreateEvent && ((Event.CreateEvent) event).getPath().equals(path)) {
          return String.join(" | ", told);
        }
      }
    }
  }

  private String missing() throws Exception {
    try {
      EventBatch batch = stream.poll(60, TimeUnit.SECONDS);
      return "not missing: " + batch;
    } catch (MissingEventsException e) {
      return "expected " + e.getExpectedTxid() + " and got a later one: " + (e.getActualTxid() > e.getExpectedTxid());
    }
  }

  private static String text(Event event) {
    switch (event.getEventType()) {
      case CREATE:
        Event.CreateEvent create = (Event.CreateEvent) event;
        return "CREATE " + create.getiNodeType() + " " + create.getPath() + " " + create.getOwnerName() + " "
            + create.getGroupName() + " " + create.getPerms() + " " + create.getReplication() + " "
            + create.getSymlinkTarget() + " " + create.getOverwrite() + " " + create.getDefaultBlockSize() + " "
            + create.isErasureCoded() + " " + (create.getCtime() > 0);
      case CLOSE:
        Event.CloseEvent close = (Event.CloseEvent) event;
        return "CLOSE " + close.getPath() + " " + close.getFileSize() + " " + (close.getTimestamp() > 0);
      case APPEND:
        Event.AppendEvent append = (Event.AppendEvent) event;
        return "APPEND " + append.getPath() + " " + append.toNewBlock();
      case RENAME:
        Event.RenameEvent rename = (Event.RenameEvent) event;
        return "RENAME " + rename.getSrcPath() + " " + rename.getDstPath() + " " + (rename.getTimestamp() > 0);
      case UNLINK:
        Event.UnlinkEvent unlink = (Event.UnlinkEvent) event;
        return "UNLINK " + unlink.getPath() + " " + (unlink.getTimestamp() > 0);
      case TRUNCATE:
        Event.TruncateEvent truncate = (Event.TruncateEvent) event;
        return "TRUNCATE " + truncate.getPath() + " " + truncate.getFileSize() + " " + (truncate.getTimestamp() > 0);
      case METADATA:
        Event.MetadataUpdateEvent meta = (Event.MetadataUpdateEvent) event;
        return "METADATA " + meta.getPath() + " " + meta.getMetadataType() + " " + time(meta.getMtime()) + " "
            + time(meta.getAtime()) + " " + meta.getReplication() + " " + meta.getOwnerName() + " "
            + meta.getGroupName() + " " + meta.getPerms() + " " + meta.getAcls() + " "
            + (meta.getxAttrs() == null ? null : meta.getxAttrs().stream()
                .map(xattr -> xattr + Arrays.toString(xattr.getValue())).collect(Collectors.toList()))
            + " " + meta.isxAttrsRemoved();
      default:
        return event.toString();
    }
  }

  /** Times that a call sets are small, others are of now. */
  private static String time(long millis) {
    return millis < 1L << 40 ? Long.toString(millis) : "now";
  }
}
