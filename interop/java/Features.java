import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.util.Arrays;
import java.util.EnumSet;
import java.util.Map;
import java.util.TreeMap;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.crypto.key.KeyProvider;
import org.apache.hadoop.crypto.key.KeyProviderFactory;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.FileSystem;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.QuotaUsage;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.StorageType;
import org.apache.hadoop.fs.permission.AclEntry;
import org.apache.hadoop.fs.permission.FsPermission;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.HdfsConfiguration;
import org.apache.hadoop.hdfs.client.CreateEncryptionZoneFlag;
import org.apache.hadoop.hdfs.client.HdfsAdmin;
import org.apache.hadoop.hdfs.protocol.CacheDirectiveEntry;
import org.apache.hadoop.hdfs.protocol.CacheDirectiveInfo;
import org.apache.hadoop.hdfs.protocol.CachePoolEntry;
import org.apache.hadoop.hdfs.protocol.CachePoolInfo;
import org.apache.hadoop.hdfs.protocol.ErasureCodingPolicy;
import org.apache.hadoop.hdfs.protocol.ErasureCodingPolicyInfo;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.RollingUpgradeAction;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;
import org.apache.hadoop.hdfs.protocol.RollingUpgradeInfo;
import org.apache.hadoop.hdfs.protocol.SnapshottableDirectoryStatus;
import org.apache.hadoop.hdfs.security.token.delegation.DelegationTokenIdentifier;
import org.apache.hadoop.io.erasurecode.ECSchema;
import org.apache.hadoop.security.UserGroupInformation;
import org.apache.hadoop.security.token.Token;

/**
 * Gives a namespace the features that stdin names, a line each, and answers each line with one: "ok ..." or
 * "error CLASS: MESSAGE". Its argument is the keystore of the encryption keys.
 */
public class Features {
  private final Configuration conf = new HdfsConfiguration();
  private final DistributedFileSystem fs;
  private Token<DelegationTokenIdentifier> token;

  private Features(String keys) throws Exception {
    conf.set("hadoop.security.key.provider.path", keys);
    fs = (DistributedFileSystem) FileSystem.get(conf);
  }

  public static void main(String[] args) throws Exception {
    Features features = new Features(args[0]);
    BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
    for (String line = lines.readLine(); line != null; line = lines.readLine()) {
      String answer;
      try {
        answer = ("ok " + features.serve(line)).trim();
      } catch (Exception e) {
        answer = "error " + e.getClass().getName() + ": " + String.valueOf(e.getMessage()).split("\n")[0];
      }
      System.out.println(answer);
      System.out.flush();
    }
    // A file that is still open stays so.
    Runtime.getRuntime().halt(0);
  }

  private String serve(String line) throws Exception {
    switch (line) {
      case "key":
        KeyProvider provider = KeyProviderFactory.getProviders(conf).get(0);
        provider.createKey("key", KeyProvider.options(conf));
        provider.flush();
        return "";
      case "save":
        fs.setSafeMode(SafeModeAction.SAFEMODE_ENTER);
        fs.saveNamespace();
        fs.setSafeMode(SafeModeAction.SAFEMODE_LEAVE);
        return "";
      case "roll":
        return String.valueOf(fs.rollEdits());
      case "served":
        served();
        return "";
      case "viewed":
        viewed();
        return "";
      case "describe":
        StringBuilder text = new StringBuilder();
        describe(fs.getFileStatus(new Path("/")), text);
        describeAll(text);
        return text.toString().replace('\n', ' ');
      case "coded file":
        fs.mkdirs(new Path("/coded/files"));
        fs.setErasureCodingPolicy(new Path("/coded/files"), "RS-6-3-1024k");
        file("/coded/files/file");
        // What is left is the file alone.
        fs.unsetErasureCodingPolicy(new Path("/coded/files"));
        return "";
      case "undo coded file":
        fs.delete(new Path("/coded/files"), true);
        return "";
      case "zone":
        fs.mkdirs(new Path("/encrypted/zone"));
        new HdfsAdmin(fs.getUri(), conf)
            .createEncryptionZone(new Path("/encrypted/zone"), "key", EnumSet.noneOf(CreateEncryptionZoneFlag.class));
        file("/encrypted/zone/file");
        return "";
      case "undo zone":
        fs.delete(new Path("/encrypted/zone"), true);
        return "";
      case "rolling upgrade":
        fs.rollingUpgrade(RollingUpgradeAction.PREPARE);
        return "";
      case "renew token":
        return "until " + fs.getClient().getNamenode().renewDelegationToken(token);
      case "upgrade under way":
        RollingUpgradeInfo upgrade = fs.rollingUpgrade(RollingUpgradeAction.QUERY);
        return upgrade == null ? "none" : "since " + upgrade.getStartTime();
      default:
        throw new IllegalArgumentException(line);
    }
  }

  private void file(String path) throws Exception {
    fs.create(new Path(path)).close();
  }

  /** Everything that a NameNode without encryption, erasure coding and snapshots has to keep. */
  @SuppressWarnings("unchecked")
  private void served() throws Exception {
    Path acls = new Path("/served/acls");
    fs.mkdirs(acls);
    fs.setAcl(acls, AclEntry.parseAclSpec(
        "user::rwx,user:one:r-x,group::r-x,group:some:rwx,mask::rwx,other::---,"
            + "default:user::rwx,default:user:two:rw-,default:group::r-x,default:mask::rwx,default:other::r--", true));
    file("/served/acls/inherits");
    Path xattrs = new Path("/served/xattrs");
    fs.mkdirs(xattrs);
    fs.setXAttr(xattrs, "user.empty", new byte[0]);
    fs.setXAttr(xattrs, "user.name", "välue".getBytes("UTF-8"));
    fs.setXAttr(xattrs, "trusted.name", new byte[1000]);
    fs.removeXAttr(xattrs, "user.empty");
    Path quotas = new Path("/served/quotas");
    fs.mkdirs(quotas);
    fs.setQuota(quotas, 1000, 1L << 40);
    fs.setQuotaByStorageType(quotas, StorageType.SSD, 1L << 30);
    file("/served/quotas/file");
    Path policies = new Path("/served/policies");
    fs.mkdirs(policies);
    fs.setStoragePolicy(policies, "COLD");
    file("/served/policies/file");
    fs.setStoragePolicy(new Path("/served/policies/file"), "ALL_SSD");
    fs.mkdirs(new Path("/served/modes"), new FsPermission((short) 01731));
    fs.setOwner(new Path("/served/modes"), "somebody", "some");
    file("/served/modes/ünïcode 😀");
    fs.setReplication(new Path("/served/modes/ünïcode 😀"), (short) 7);
    fs.setTimes(new Path("/served/modes/ünïcode 😀"), 1234567890123L, 1234567890456L);
    fs.rename(new Path("/served/modes/ünïcode 😀"), new Path("/served/modes/renamed"));
    fs.mkdirs(new Path("/served/snapshottable"));
    fs.allowSnapshot(new Path("/served/snapshottable"));
    fs.create(new Path("/served/open"));
    fs.enableErasureCodingPolicy("XOR-2-1-1024k");
    fs.addErasureCodingPolicies(new ErasureCodingPolicy[] {
        new ErasureCodingPolicy(new ECSchema("rs", 4, 2), 64 * 1024),
        new ErasureCodingPolicy(new ECSchema("xor", 3, 1), 128 * 1024)});
    fs.enableErasureCodingPolicy("RS-4-2-64k");
    fs.removeErasureCodingPolicy("XOR-3-1-128k");
    fs.mkdirs(new Path("/served/coded/own/replicated"));
    fs.setErasureCodingPolicy(new Path("/served/coded"), "RS-6-3-1024k");
    fs.setErasureCodingPolicy(new Path("/served/coded/own"), "RS-4-2-64k");
    fs.setErasureCodingPolicy(new Path("/served/coded/own/replicated"), "replication");
    fs.mkdirs(new Path("/served/coded/unset"));
    fs.setErasureCodingPolicy(new Path("/served/coded/unset"), "XOR-2-1-1024k");
    fs.unsetErasureCodingPolicy(new Path("/served/coded/unset"));
    fs.addCachePool(new CachePoolInfo("pool").setOwnerName("one").setGroupName("some").setLimit(1000000L));
    fs.addCacheDirective(new CacheDirectiveInfo.Builder().setPath(quotas).setPool("pool").setReplication((short) 2).build());
    file("/served/xattrs/unreadable");
    fs.setXAttr(new Path("/served/xattrs/unreadable"), "security.hdfs.unreadable.by.superuser", null);
    token = (Token<DelegationTokenIdentifier>) (Token<?>)
        fs.getDelegationToken(UserGroupInformation.getCurrentUser().getShortUserName());
  }

  /** Snapshots with all kinds of changes behind them, and names that are hard to print. */
  private void viewed() throws Exception {
    Path root = new Path("/viewed");
    for (String name : new String[] {"a & b <c> \"d\" 'e'", "back\\slash \\0041;", "line\nbreak\rreturn\ttab", "\u0001\u001f\u007f",
        "\uFFFD\u0085\u2028", "&lt;", "  blanks"}) {
      file("/viewed/names/" + name);
    }
    for (String name : new String[] {"one", "two", "three", "four"}) {
      file("/viewed/files/" + name);
      file("/viewed/more/" + name + "/" + name);
    }
    fs.allowSnapshot(root);
    fs.createSnapshot(root, "s0");
    fs.setPermission(new Path("/viewed/files/one"), new FsPermission((short) 0600));
    fs.setXAttr(new Path("/viewed/files/one"), "user.later", new byte[] {1, 2});
    fs.delete(new Path("/viewed/files/two"), false);
    fs.rename(new Path("/viewed/files/three"), new Path("/outside"));
    fs.rename(new Path("/viewed/more/one"), new Path("/viewed/files/moved"));
    fs.setQuota(new Path("/viewed/more"), 100, 1L << 40);
    fs.createSnapshot(root, "s1");
    fs.delete(new Path("/viewed/more"), true);
    fs.rename(new Path("/outside"), new Path("/viewed/back"));
    file("/viewed/new");
    fs.createSnapshot(root, "s2 <&>");
    fs.delete(new Path("/viewed/files/moved"), true);
    fs.rename(new Path("/viewed/names"), new Path("/names"));
    fs.mkdirs(new Path("/elsewhere"));
    fs.allowSnapshot(new Path("/elsewhere"));
    fs.createSnapshot(new Path("/elsewhere"), "s");
    fs.create(new Path("/elsewhere/open & \\ shut"));
  }

  private void describe(FileStatus status, StringBuilder text) throws Exception {
    Path path = status.getPath();
    text.append(path.toUri().getPath()).append(' ').append(status.getPermission().toShort()).append(' ')
        .append(status.getOwner()).append(':').append(status.getGroup()).append(' ').append(status.getLen()).append(' ')
        .append(status.getReplication()).append(' ').append(status.getBlockSize()).append(' ')
        .append(status.getModificationTime()).append(' ').append(status.isDirectory() ? 0 : status.getAccessTime());
    text.append(" acl ").append(fs.getAclStatus(path));
    for (Map.Entry<String, byte[]> xattr : new TreeMap<>(fs.getXAttrs(path)).entrySet()) {
      text.append(' ').append(xattr.getKey()).append('=').append(Arrays.hashCode(xattr.getValue()));
    }
    text.append(" policy ").append(fs.getStoragePolicy(path).getName());
    text.append(" coded ").append(fs.getErasureCodingPolicy(path)).append(' ')
        .append(fs.getContentSummary(path).getErasureCodingPolicy());
    if (status.isDirectory()) {
      QuotaUsage usage = fs.getQuotaUsage(path);
      text.append(" quota ").append(usage.getQuota()).append(' ').append(usage.getFileAndDirectoryCount()).append(' ')
          .append(usage.getSpaceQuota()).append(' ').append(usage.getTypeQuota(StorageType.SSD));
    }
    text.append('\n');
    if (status.isDirectory()) {
      for (FileStatus child : fs.listStatus(path)) {
        describe(child, text);
      }
    }
  }

  private void describeAll(StringBuilder text) throws Exception {
    SnapshottableDirectoryStatus[] snapshottable = fs.getSnapshottableDirListing();
    for (SnapshottableDirectoryStatus each : snapshottable == null ? new SnapshottableDirectoryStatus[0] : snapshottable) {
      text.append("snapshottable ").append(each.getFullPath().toUri().getPath()).append('\n');
    }
    for (ErasureCodingPolicyInfo each : fs.getAllErasureCodingPolicies()) {
      text.append(each.getPolicy()).append(' ').append(each.getState()).append('\n');
    }
    RemoteIterator<CachePoolEntry> pools = fs.listCachePools();
    while (pools.hasNext()) {
      text.append(pools.next().getInfo()).append('\n');
    }
    RemoteIterator<CacheDirectiveEntry> directives = fs.listCacheDirectives(null);
    while (directives.hasNext()) {
      CacheDirectiveInfo info = directives.next().getInfo();
      text.append("directive ").append(info.getId()).append(' ').append(info.getPath()).append(' ')
          .append(info.getPool()).append(' ').append(info.getReplication()).append('\n');
    }
  }
}
