import java.io.FileNotFoundException;
import java.io.IOException;
import java.io.InputStream;
import java.net.URI;
import java.security.PrivilegedExceptionAction;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Random;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.fs.BlockLocation;
import org.apache.hadoop.fs.ContentSummary;
import org.apache.hadoop.fs.FSDataInputStream;
import org.apache.hadoop.fs.FSDataOutputStream;
import org.apache.hadoop.fs.FileAlreadyExistsException;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Options;
import org.apache.hadoop.fs.ParentNotDirectoryException;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.PathIsNotEmptyDirectoryException;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DFSOutputStream;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.client.HdfsDataOutputStream;
import org.apache.hadoop.hdfs.protocol.AlreadyBeingCreatedException;
import org.apache.hadoop.ipc.RemoteException;
import org.apache.hadoop.security.AccessControlException;
import org.apache.hadoop.security.UserGroupInformation;

/**
 * What programs rely on when they use Hadoop's own client: one small story after the other, each in a directory of its
 * own. Prints "ok NAME" or "FAILED NAME REASON"; the exit code is the number of failures.
 *
 * Arguments: base directory, and optionally the only story to run.
 */
public class ClientChecks {
  static final int BLOCK = 1 << 20;
  static Configuration conf;
  static DistributedFileSystem fs;
  static Path base;
  static String only;
  static int failed;

  interface Story {
    void run(Path dir) throws Exception;
  }

  interface Call {
    void run() throws Exception;
  }

  public static void main(String[] args) throws Exception {
    conf = new HdfsConfiguration();
    base = new Path(args[0]);
    only = args.length > 1 ? args[1] : null;
    fs = client();
    fs.mkdirs(base);

    story("create", ClientChecks::create);
    story("mkdirs", ClientChecks::mkdirs);
    story("append", ClientChecks::append);
    story("rename", ClientChecks::rename);
    story("rename-options", ClientChecks::renameOptions);
    story("delete", ClientChecks::delete);
    story("missing", ClientChecks::missing);
    story("listing", ClientChecks::listing);
    story("seek-and-pread", ClientChecks::seekAndPread);
    story("hflush-is-visible", ClientChecks::hflush);
    story("hsync-tells-the-length", ClientChecks::hsync);
    story("lease-recovery", ClientChecks::leaseRecovery);
    story("one-writer", ClientChecks::oneWriter);
    story("times", ClientChecks::times);
    story("permissions", ClientChecks::permissions);
    story("owner-and-mode", ClientChecks::ownerAndMode);
    story("block-locations", ClientChecks::blockLocations);
    story("content-summary", ClientChecks::contentSummary);
    story("quota", ClientChecks::quota);
    story("truncate", ClientChecks::truncate);
    story("concat", ClientChecks::concat);
    story("checksum", ClientChecks::checksum);
    story("symlink-refused", ClientChecks::symlinks);
    story("odd-names", ClientChecks::oddNames);
    story("flush-rename-close", ClientChecks::renameWhileOpen);
    story("delete-while-open", ClientChecks::deleteWhileOpen);
    System.exit(failed);
  }

  /** A client with a name, leases and connections of its own. */
  static DistributedFileSystem client() throws IOException {
    return (DistributedFileSystem) FileSystem.newInstance(URI.create(conf.get("fs.defaultFS")), conf);
  }

  static void story(String name, Story story) {
    if (only != null && !only.equals(name)) {
      return;
    }
    try {
      Path dir = new Path(base, name);
      check(fs.mkdirs(dir), "mkdirs");
      story.run(dir);
      System.out.println("ok " + name);
    } catch (Throwable e) {
      failed++;
      StackTraceElement at = e.getStackTrace()[0];
      for (StackTraceElement frame : e.getStackTrace()) {
        if (frame.getClassName().startsWith("ClientChecks") && !frame.getMethodName().equals("check")) {
          at = frame;
          break;
        }
      }
      System.out.println("FAILED " + name + " line " + at.getLineNumber() + ": " + e);
    }
  }

  static void check(boolean good, String what) {
    if (!good) {
      throw new AssertionError(what);
    }
  }

  static void same(Object wanted, Object found, String what) {
    check(wanted.equals(found), what + ": " + found + " instead of " + wanted);
  }

  /** The call must fail with the class (also when it came as a RemoteException), and the words in its message. */
  static void fails(Class<? extends Exception> wanted, String words, Call call) {
    try {
      call.run();
    } catch (Exception e) {
      Exception cause = e instanceof RemoteException ? ((RemoteException) e).unwrapRemoteException() : e;
      check(wanted.isInstance(cause), "not " + wanted.getSimpleName() + " but " + cause);
      check(String.valueOf(cause.getMessage()).contains(words), "not \"" + words + "\" in " + cause);
      return;
    }
    throw new AssertionError("no " + wanted.getSimpleName());
  }

  static byte[] data(int seed, int length) {
    byte[] bytes = new byte[length];
    new Random(seed).nextBytes(bytes);
    return bytes;
  }

  static FSDataOutputStream open(FileSystem client, Path path, boolean overwrite) throws IOException {
    return client.create(path, overwrite, 4096, (short) 2, BLOCK);
  }

  static void write(Path path, byte[] bytes) throws IOException {
    try (FSDataOutputStream out = open(fs, path, true)) {
      out.write(bytes);
    }
  }

  static byte[] read(FileSystem client, Path path) throws IOException {
    try (InputStream in = client.open(path)) {
      return in.readAllBytes();
    }
  }

  static void holds(Path path, byte[] wanted) throws IOException {
    same((long) wanted.length, fs.getFileStatus(path).getLen(), "length of " + path);
    check(Arrays.equals(wanted, read(fs, path)), "content of " + path);
  }

  static void waitUntilClosed(Path path) throws Exception {
    for (int i = 0; i < 600; i++) {
      if (fs.isFileClosed(path)) {
        return;
      }
      Thread.sleep(50);
    }
    throw new AssertionError(path + " is still open");
  }

  static byte[] join(byte[] one, byte[] two) {
    byte[] both = Arrays.copyOf(one, one.length + two.length);
    System.arraycopy(two, 0, both, one.length, two.length);
    return both;
  }

  static void create(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    write(file, data(1, 100));
    fails(FileAlreadyExistsException.class, "already exists", () -> open(fs, file, false));
    holds(file, data(1, 100));
    write(file, data(2, 50));
    holds(file, data(2, 50));
    fails(FileAlreadyExistsException.class, "already exists as a directory", () -> open(fs, dir, true));
    fails(FileAlreadyExistsException.class, "", () -> open(fs, dir, false));
    fails(ParentNotDirectoryException.class, "", () -> open(fs, new Path(file, "below"), true));
    Path deep = new Path(dir, "x/y/z");
    fails(FileNotFoundException.class, "Parent directory doesn't exist", () -> fs.createNonRecursive(deep,
        FsPermission.getFileDefault(), EnumSet.of(org.apache.hadoop.fs.CreateFlag.CREATE), 4096, (short) 1, BLOCK,
        null));
    write(deep, data(3, 10));
    holds(deep, data(3, 10));
    fails(IOException.class, "block size", () -> fs.create(new Path(dir, "small"), true, 4096, (short) 1, 512));
    fails(IOException.class, "replication", () -> fs.create(new Path(dir, "many"), true, 4096, (short) 1000, BLOCK));
    write(new Path(dir, "empty"), new byte[0]);
    holds(new Path(dir, "empty"), new byte[0]);
    byte[] large = data(4, 3 * BLOCK + 12345);
    write(new Path(dir, "large"), large);
    holds(new Path(dir, "large"), large);
    byte[] exact = data(5, 2 * BLOCK);
    write(new Path(dir, "exact"), exact);
    holds(new Path(dir, "exact"), exact);
  }

  static void mkdirs(Path dir) throws Exception {
    Path deep = new Path(dir, "a/b/c");
    check(fs.mkdirs(deep), "new");
    check(fs.mkdirs(deep), "again");
    check(fs.getFileStatus(deep).isDirectory(), "directory");
    Path file = new Path(dir, "f");
    write(file, data(1, 1));
    fails(FileAlreadyExistsException.class, "", () -> fs.mkdirs(file));
    fails(ParentNotDirectoryException.class, "", () -> fs.mkdirs(new Path(file, "below")));
    fails(FileNotFoundException.class, "", () -> fs.mkdir(new Path(dir, "no/parent"), FsPermission.getDirDefault()));
  }

  static void append(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    byte[] all = data(1, BLOCK / 2 + 77);
    write(file, all);
    for (int i = 0; i < 6; i++) {
      byte[] more = data(10 + i, BLOCK / 3 + i);
      try (FSDataOutputStream out = fs.append(file)) {
        same((long) all.length, out.getPos(), "position");
        out.write(more);
      }
      all = join(all, more);
    }
    holds(file, all);
    Path exact = new Path(dir, "exact");
    write(exact, data(2, BLOCK));
    try (FSDataOutputStream out = fs.append(exact)) {
      out.write(data(3, 1));
    }
    holds(exact, join(data(2, BLOCK), data(3, 1)));
    Path empty = new Path(dir, "empty");
    write(empty, new byte[0]);
    try (FSDataOutputStream out = fs.append(empty)) {
      out.write(data(4, 5));
    }
    holds(empty, data(4, 5));
    fails(FileNotFoundException.class, "", () -> fs.append(new Path(dir, "missing")));
    fails(FileAlreadyExistsException.class, "Cannot append to directory", () -> fs.append(dir));
    try (FSDataOutputStream out = fs.append(file,
        EnumSet.of(org.apache.hadoop.fs.CreateFlag.APPEND, org.apache.hadoop.fs.CreateFlag.NEW_BLOCK), 4096, null)) {
      out.write(data(5, 9));
    }
    holds(file, join(all, data(5, 9)));
  }

  static void rename(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    Path other = new Path(dir, "g");
    Path sub = new Path(dir, "d/e");
    write(file, data(1, 10));
    write(other, data(2, 20));
    fs.mkdirs(sub);
    check(!fs.rename(file, other), "onto a file");
    holds(other, data(2, 20));
    check(fs.rename(file, file), "a file onto itself");
    check(!fs.rename(new Path(dir, "d"), new Path(dir, "d")), "a directory onto itself");
    check(!fs.rename(new Path(dir, "d"), new Path(sub, "deeper")), "into itself");
    check(!fs.rename(file, new Path(dir, "no/parent")), "missing parent");
    check(!fs.rename(new Path(dir, "missing"), new Path(dir, "new")), "missing source");
    check(!fs.rename(new Path("/"), new Path(dir, "root")), "the root");
    check(fs.rename(file, sub), "into a directory");
    holds(new Path(sub, "f"), data(1, 10));
    check(!fs.rename(other, new Path(sub, "f")), "onto a file in a directory");
    check(fs.rename(new Path(dir, "d"), new Path(dir, "moved")), "a directory");
    holds(new Path(dir, "moved/e/f"), data(1, 10));
    check(!fs.exists(sub), "the old name");
    fs.mkdirs(new Path(dir, "full/moved/x"));
    check(!fs.rename(new Path(dir, "moved"), new Path(dir, "full")), "onto a directory that is not empty");
    fails(ParentNotDirectoryException.class, "",
        () -> fs.rename(other, new Path(new Path(dir, "moved/e/f"), "below")));
  }

  static void renameOptions(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    Path other = new Path(dir, "g");
    write(file, data(1, 10));
    write(other, data(2, 20));
    fails(FileAlreadyExistsException.class, "", () -> fs.rename(file, other, Options.Rename.NONE));
    fs.rename(file, other, Options.Rename.OVERWRITE);
    holds(other, data(1, 10));
    check(!fs.exists(file), "the old name");
    fs.mkdirs(new Path(dir, "empty"));
    fs.mkdirs(new Path(dir, "full/x"));
    fails(IOException.class, "not empty",
        () -> fs.rename(new Path(dir, "empty"), new Path(dir, "full"), Options.Rename.OVERWRITE));
    fs.rename(new Path(dir, "full"), new Path(dir, "empty"), Options.Rename.OVERWRITE);
    check(fs.exists(new Path(dir, "empty/x")), "moved over an empty directory");
    fails(IOException.class, "", () -> fs.rename(other, new Path(dir, "empty"), Options.Rename.OVERWRITE));
    fails(FileNotFoundException.class, "", () -> fs.rename(file, new Path(dir, "n"), Options.Rename.NONE));
    fails(FileNotFoundException.class, "", () -> fs.rename(other, new Path(dir, "no/n"), Options.Rename.NONE));
    fails(FileAlreadyExistsException.class, "", () -> fs.rename(other, other, Options.Rename.NONE));
  }

  static void delete(Path dir) throws Exception {
    Path full = new Path(dir, "full");
    fs.mkdirs(new Path(full, "x"));
    fails(PathIsNotEmptyDirectoryException.class, "is non empty", () -> fs.delete(full, false));
    check(fs.delete(full, true), "recursive");
    check(!fs.exists(full), "gone");
    check(!fs.delete(full, true), "again");
    check(fs.mkdirs(full) && fs.delete(full, false), "an empty directory");
    write(full, data(1, 10));
    check(fs.delete(full, false), "a file");
    check(!fs.delete(new Path("/"), true), "the root");
    check(fs.exists(dir), "all is there after deleting the root");
  }

  static void missing(Path dir) throws Exception {
    Path no = new Path(dir, "no");
    fails(FileNotFoundException.class, "File does not exist", () -> fs.open(no));
    fails(FileNotFoundException.class, "File does not exist", () -> fs.getFileStatus(no));
    fails(FileNotFoundException.class, "does not exist", () -> fs.listStatus(no));
    fails(FileNotFoundException.class, "does not exist", () -> fs.listLocatedStatus(no).hasNext());
    fails(FileNotFoundException.class, "", () -> fs.getContentSummary(no));
    fails(FileNotFoundException.class, "", () -> fs.setPermission(no, FsPermission.getFileDefault()));
    fails(FileNotFoundException.class, "", () -> fs.setOwner(no, "x", null));
    fails(FileNotFoundException.class, "", () -> fs.setTimes(no, 1, 1));
    fails(FileNotFoundException.class, "", () -> fs.truncate(no, 1));
    fails(FileNotFoundException.class, "", () -> fs.getXAttrs(no));
    fails(FileNotFoundException.class, "", () -> fs.getAclStatus(no));
    fails(FileNotFoundException.class, "", () -> fs.recoverLease(no));
    check(!fs.setReplication(no, (short) 1), "setReplication");
    fails(FileNotFoundException.class, "Path is not a file", () -> fs.open(dir));
  }

  static void listing(Path dir) throws Exception {
    // More than one answer of the NameNode's (dfs.ls.limit is 1000).
    for (int i = 0; i < 1203; i++) {
      fs.mkdirs(new Path(dir, String.format("d%05d", i)));
    }
    FileStatus[] all = fs.listStatus(dir);
    same(1203, all.length, "entries");
    for (int i = 0; i < all.length; i++) {
      same(String.format("d%05d", i), all[i].getPath().getName(), "order");
    }
    same(10, fs.globStatus(new Path(dir, "d0011?")).length, "glob");
    Path file = new Path(dir, "d00000/f");
    write(file, data(1, 10));
    same(file, Path.getPathWithoutSchemeAndAuthority(fs.listStatus(file)[0].getPath()), "a file lists itself");
  }

  static void seekAndPread(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    byte[] all = data(1, 3 * BLOCK + 1000);
    write(file, all);
    Random random = new Random(7);
    try (FSDataInputStream in = fs.open(file)) {
      for (int i = 0; i < 100; i++) {
        int from = random.nextInt(all.length - 1);
        int length = Math.min(all.length - from, 1 + random.nextInt(i % 10 == 0 ? BLOCK + 5 : 3000));
        byte[] part = new byte[length];
        if (i % 2 == 0) {
          in.seek(from);
          in.readFully(part);
        } else {
          in.readFully(from, part);
        }
        check(Arrays.equals(Arrays.copyOfRange(all, from, from + length), part), "at " + from + " for " + length);
      }
      in.seek(all.length);
      same(-1, in.read(), "at the end");
      fails(IOException.class, "", () -> in.seek(all.length + 1L));
      fails(IOException.class, "", () -> in.seek(-1));
      fails(java.io.EOFException.class, "", () -> in.readFully(all.length - 1L, new byte[2]));
    }
  }

  static void hflush(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    byte[] all = new byte[0];
    try (DistributedFileSystem reader = client(); FSDataOutputStream out = open(fs, file, true)) {
      for (int i = 0; i < 8; i++) {
        byte[] more = data(i, BLOCK / 4 + 33);
        out.write(more);
        out.hflush();
        all = join(all, more);
        check(Arrays.equals(all, read(reader, file)), "what a reader sees after hflush " + i);
      }
      check(!reader.isFileClosed(file), "open");
    }
    holds(file, all);
    check(fs.isFileClosed(file), "closed");
  }

  static void hsync(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    try (FSDataOutputStream out = open(fs, file, true)) {
      out.write(data(1, 5000));
      ((HdfsDataOutputStream) out).hsync(EnumSet.of(HdfsDataOutputStream.SyncFlag.UPDATE_LENGTH));
      same(5000L, fs.getFileStatus(file).getLen(), "length");
      out.write(data(2, 3000));
      ((HdfsDataOutputStream) out).hsync(EnumSet.of(HdfsDataOutputStream.SyncFlag.UPDATE_LENGTH,
          HdfsDataOutputStream.SyncFlag.END_BLOCK));
      same(8000L, fs.getFileStatus(file).getLen(), "length");
      out.write(data(3, 10));
    }
    holds(file, join(join(data(1, 5000), data(2, 3000)), data(3, 10)));
    same(2, fs.getFileBlockLocations(fs.getFileStatus(file), 0, 9000).length, "blocks");
  }

  /** The writer vanishes without a word: its client keeps the file open, but never speaks of it again. */
  static void leaseRecovery(Path dir) throws Exception {
    for (int flushed : new int[] {0, 1000, BLOCK, BLOCK + 4711}) {
      Path file = new Path(dir, "f" + flushed);
      byte[] all = data(flushed, flushed);
      DistributedFileSystem dying = client();
      FSDataOutputStream out = open(dying, file, true);
      out.write(all);
      out.hflush();
      DFSOutputStream inner = (DFSOutputStream) out.getWrappedStream();
      abandon(inner);
      boolean closed = fs.recoverLease(file);
      if (!closed) {
        waitUntilClosed(file);
      }
      holds(file, all);
      check(fs.recoverLease(file), "of a closed file");
      try (FSDataOutputStream more = fs.append(file)) {
        more.write(data(9, 17));
      }
      holds(file, join(all, data(9, 17)));
    }
  }

  /** Cuts a stream's connections without telling the NameNode. */
  static void abandon(DFSOutputStream out) throws Exception {
    java.lang.reflect.Method abort = DFSOutputStream.class.getDeclaredMethod("closeThreads", boolean.class);
    abort.setAccessible(true);
    abort.invoke(out, true);
  }

  static void oneWriter(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    try (DistributedFileSystem second = client(); FSDataOutputStream out = open(fs, file, true)) {
      out.write(data(1, 10));
      out.hflush();
      fails(AlreadyBeingCreatedException.class, "", () -> second.getClient().create(file.toUri().getPath(), false));
      fails(AlreadyBeingCreatedException.class, "", () -> second.append(file).close());
      fails(AlreadyBeingCreatedException.class, "is already the current lease holder",
          () -> fs.append(file).close());
      fails(AlreadyBeingCreatedException.class, "", () -> second.truncate(file, 1));
      // Overwriting takes the file away from its writer.
      try (FSDataOutputStream taken = open(second, file, true)) {
        taken.write(data(2, 20));
      }
      fails(IOException.class, "", () -> {
        out.write(data(3, 3 * BLOCK));
        out.close();
      });
    } catch (FileNotFoundException e) {
      // The first writer's close finds its file gone.
      check(e.getMessage().contains("f"), "the message names the file: " + e);
    }
    holds(file, data(2, 20));
  }

  static void times(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    write(file, data(1, 10));
    fs.setTimes(file, 1234567, 7654321);
    same(1234567L, fs.getFileStatus(file).getModificationTime(), "mtime");
    same(7654321L, fs.getFileStatus(file).getAccessTime(), "atime");
    fs.setTimes(file, -1, 42);
    same(1234567L, fs.getFileStatus(file).getModificationTime(), "mtime");
    same(42L, fs.getFileStatus(file).getAccessTime(), "atime");
    fs.setTimes(dir, 99, -1);
    same(99L, fs.getFileStatus(dir).getModificationTime(), "mtime of a directory");
    write(new Path(dir, "g"), data(1, 1));
    check(fs.getFileStatus(dir).getModificationTime() > 99, "a new child changes the directory's mtime");
  }

  static FileSystem as(String user, String... groups) throws Exception {
    UserGroupInformation ugi = groups.length == 0 ? UserGroupInformation.createRemoteUser(user)
        : UserGroupInformation.createUserForTesting(user, groups);
    return ugi.doAs((PrivilegedExceptionAction<FileSystem>) ClientChecks::client);
  }

  static void permissions(Path dir) throws Exception {
    try (FileSystem alice = as("alice"); FileSystem mallory = as("mallory")) {
      Path home = new Path(dir, "alice");
      fs.mkdirs(home);
      fs.setOwner(home, "alice", "staff");
      fs.setPermission(home, new FsPermission((short) 0750));
      Path file = new Path(home, "f");
      try (FSDataOutputStream out = open(alice, file, true)) {
        out.write(data(1, 10));
      }
      same("alice", fs.getFileStatus(file).getOwner(), "owner");
      same("staff", fs.getFileStatus(file).getGroup(), "group comes from the directory");
      fails(AccessControlException.class, "Permission denied: user=mallory, access=EXECUTE", () -> mallory.open(file));
      fails(AccessControlException.class, "user=mallory", () -> mallory.listStatus(home));
      fs.setPermission(home, new FsPermission((short) 0755));
      check(Arrays.equals(data(1, 10), read(mallory, file)), "reading is allowed now");
      fails(AccessControlException.class, "access=WRITE", () -> mallory.delete(file, false));
      fails(AccessControlException.class, "access=WRITE", () -> open(mallory, new Path(home, "g"), true));
      fails(AccessControlException.class, "access=WRITE", () -> mallory.append(file));
      fails(AccessControlException.class, "access=WRITE", () -> mallory.rename(file, new Path(home, "h")));
      fails(AccessControlException.class, "not the owner",
          () -> mallory.setPermission(file, new FsPermission((short) 0777)));
      fails(AccessControlException.class, "", () -> alice.setOwner(file, "mallory", null));
      alice.setPermission(file, new FsPermission((short) 0600));
      fails(AccessControlException.class, "access=READ", () -> mallory.open(file));
      // The sticky bit: what is in the directory is its owner's business alone.
      Path shared = new Path(dir, "shared");
      fs.mkdirs(shared);
      fs.setPermission(shared, new FsPermission((short) 01777));
      Path note = new Path(shared, "note");
      alice.create(note).close();
      fails(AccessControlException.class, "sticky bit", () -> mallory.delete(note, false));
      check(alice.delete(note, false), "the owner may");
      fails(AccessControlException.class, "Superuser privilege is required",
          () -> ((DistributedFileSystem) mallory).setQuota(shared, 10, 10));
      fails(AccessControlException.class, "Superuser privilege is required",
          () -> ((DistributedFileSystem) mallory).saveNamespace());
    }
  }

  static void ownerAndMode(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    write(file, data(1, 10));
    same("rw-r--r--", fs.getFileStatus(file).getPermission().toString(), "after the umask");
    fs.setOwner(file, "bob", "people");
    same("bob", fs.getFileStatus(file).getOwner(), "owner");
    same("people", fs.getFileStatus(file).getGroup(), "group");
    fs.setOwner(file, null, "others");
    same("bob", fs.getFileStatus(file).getOwner(), "owner");
    fs.setXAttr(file, "user.k", data(3, 100));
    check(Arrays.equals(data(3, 100), fs.getXAttr(file, "user.k")), "attribute");
    same(1, fs.listXAttrs(file).size(), "attributes");
    fails(IOException.class, "", () -> fs.setXAttr(file, "user.k", new byte[1],
        EnumSet.of(org.apache.hadoop.fs.XAttrSetFlag.CREATE)));
    fails(IOException.class, "", () -> fs.getXAttr(file, "user.none"));
    fs.setStoragePolicy(file, "COLD");
    same("COLD", fs.getStoragePolicy(file).getName(), "policy");
  }

  static void blockLocations(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    write(file, data(1, 2 * BLOCK + 100));
    BlockLocation[] all = fs.getFileBlockLocations(fs.getFileStatus(file), 0, Long.MAX_VALUE);
    same(3, all.length, "blocks");
    long at = 0;
    for (BlockLocation one : all) {
      same(at, one.getOffset(), "offset");
      at += one.getLength();
      same(2, one.getNames().length, "replicas");
      check(!one.getNames()[0].equals(one.getNames()[1]), "on different nodes");
      same("/default-rack", one.getTopologyPaths()[0].substring(0, 13), "rack");
      check(!one.isCorrupt(), "healthy");
    }
    same(2L * BLOCK + 100, at, "length");
    same(1, fs.getFileBlockLocations(fs.getFileStatus(file), BLOCK + 5, 10).length, "of a range");
    same(0, fs.getFileBlockLocations(fs.getFileStatus(file), 5L * BLOCK, 10).length, "behind the end");
    same(3, fs.listLocatedStatus(file).next().getBlockLocations().length, "of a located listing");
  }

  static void contentSummary(Path dir) throws Exception {
    fs.mkdirs(new Path(dir, "a/b"));
    write(new Path(dir, "a/f"), data(1, 1000));
    write(new Path(dir, "a/b/g"), data(1, 234));
    ContentSummary summary = fs.getContentSummary(dir);
    same(1234L, summary.getLength(), "length");
    same(2L, summary.getFileCount(), "files");
    same(3L, summary.getDirectoryCount(), "directories");
    same(2468L, summary.getSpaceConsumed(), "space");
    same(-1L, summary.getQuota(), "quota");
  }

  static void quota(Path dir) throws Exception {
    fs.setQuota(dir, 3, 10L * BLOCK);
    write(new Path(dir, "f"), data(1, 10));
    fs.mkdirs(new Path(dir, "d"));
    fails(org.apache.hadoop.hdfs.protocol.NSQuotaExceededException.class, "The NameSpace quota",
        () -> fs.mkdirs(new Path(dir, "e")));
    fails(org.apache.hadoop.hdfs.protocol.DSQuotaExceededException.class, "The DiskSpace quota", () -> {
      try (FSDataOutputStream out = fs.append(new Path(dir, "f"))) {
        out.write(data(2, 7 * BLOCK));
      }
    });
    fs.setQuota(dir, -1, -1);
    fs.mkdirs(new Path(dir, "e"));
  }

  static void truncate(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    byte[] all = data(1, 3 * BLOCK + 500);
    write(file, all);
    check(fs.truncate(file, 2L * BLOCK), "on a border it is done at once");
    holds(file, Arrays.copyOf(all, 2 * BLOCK));
    check(!fs.truncate(file, BLOCK + 333L), "within a block it takes a recovery");
    waitUntilClosed(file);
    holds(file, Arrays.copyOf(all, BLOCK + 333));
    check(fs.truncate(file, BLOCK + 333L), "to the same length");
    fails(IOException.class, "larger", () -> fs.truncate(file, 5L * BLOCK));
    try (FSDataOutputStream out = fs.append(file)) {
      out.write(data(2, 1000));
    }
    holds(file, join(Arrays.copyOf(all, BLOCK + 333), data(2, 1000)));
    check(fs.truncate(file, 0), "to nothing");
    holds(file, new byte[0]);
  }

  static void concat(Path dir) throws Exception {
    Path target = new Path(dir, "t");
    Path one = new Path(dir, "a");
    Path two = new Path(dir, "b");
    write(target, data(1, BLOCK + 5));
    write(one, data(2, 2000));
    write(two, data(3, BLOCK));
    fs.concat(target, new Path[] {one, two});
    holds(target, join(join(data(1, BLOCK + 5), data(2, 2000)), data(3, BLOCK)));
    check(!fs.exists(one) && !fs.exists(two), "the sources are gone");
    fails(IOException.class, "", () -> fs.concat(target, new Path[] {target}));
    fails(IOException.class, "", () -> fs.concat(target, new Path[] {new Path(dir, "missing")}));
  }

  static void checksum(Path dir) throws Exception {
    byte[] all = data(1, 2 * BLOCK + 999);
    Path one = new Path(dir, "one");
    Path two = new Path(dir, "two");
    write(one, all);
    write(two, all);
    same(fs.getFileChecksum(one), fs.getFileChecksum(two), "equal files");
    check(!fs.getFileChecksum(one, BLOCK).equals(fs.getFileChecksum(one)), "of a part");
    all[BLOCK] ^= 1;
    write(two, all);
    check(!fs.getFileChecksum(one).equals(fs.getFileChecksum(two)), "different files");
  }

  static void symlinks(Path dir) throws Exception {
    fails(Exception.class, "", () -> fs.createSymlink(dir, new Path(dir, "link"), false));
    fails(Exception.class, "", () -> fs.createSnapshot(dir, "s"));
  }

  static void oddNames(Path dir) throws Exception {
    for (String name : new String[] {"with space", "ünïcödé-漢字", "%41", "a+b&c=d", "#", "x".repeat(255), "😀"}) {
      Path file = new Path(dir, name);
      write(file, data(name.length(), 10));
      holds(file, data(name.length(), 10));
      boolean found = false;
      for (FileStatus one : fs.listStatus(dir)) {
        found |= one.getPath().getName().equals(name);
      }
      check(found, "listed: " + name);
    }
    fails(IOException.class, "", () -> fs.mkdirs(new Path(dir, "x".repeat(256))));
    long id = ((org.apache.hadoop.hdfs.protocol.HdfsFileStatus) fs.getFileStatus(new Path(dir, "#"))).getFileId();
    check(Arrays.equals(data(1, 10), read(fs, new Path("/.reserved/.inodes/" + id))), "by inode id");
    fails(Exception.class, "", () -> fs.mkdirs(new Path("/.reserved/x")));
  }

  static void renameWhileOpen(Path dir) throws Exception {
    Path before = new Path(dir, "before");
    Path after = new Path(dir, "after");
    try (FSDataOutputStream out = open(fs, before, true)) {
      out.write(data(1, BLOCK));
      out.hflush();
      check(fs.rename(before, after), "rename");
      out.write(data(2, BLOCK));
    }
    holds(after, join(data(1, BLOCK), data(2, BLOCK)));
  }

  static void deleteWhileOpen(Path dir) throws Exception {
    Path file = new Path(dir, "f");
    FSDataOutputStream out = open(fs, file, true);
    out.write(data(1, 100));
    out.hflush();
    check(fs.delete(file, false), "delete");
    fails(FileNotFoundException.class, "", () -> {
      out.write(data(2, 2 * BLOCK));
      out.close();
    });
    check(!fs.exists(file), "gone");
  }
}
