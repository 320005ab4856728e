package org.apache.hadoop.hdfs.server.namenode;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.util.List;
import org.apache.hadoop.crypto.key.KeyProviderCryptoExtension;
import org.apache.hadoop.fs.FileStatus;
import org.apache.hadoop.fs.Path;
import org.apache.hadoop.fs.RemoteIterator;
import org.apache.hadoop.fs.permission.AclEntry;
import org.apache.hadoop.fs.permission.AclUtil;
import org.apache.hadoop.fs.permission.PermissionStatus;
import org.apache.hadoop.hdfs.DistributedFileSystem;
import org.apache.hadoop.hdfs.MiniDFSCluster;
import org.apache.hadoop.hdfs.NameNodeProxies;
import org.apache.hadoop.hdfs.protocol.ClientProtocol;
import org.apache.hadoop.hdfs.protocol.EncryptionZone;
import org.apache.hadoop.hdfs.protocol.HdfsConstants.SafeModeAction;
import org.apache.hadoop.hdfs.server.namenode.snapshot.Snapshot;
import org.apache.hadoop.hdfs.server.protocol.NamenodeProtocols;
import org.apache.hadoop.ipc.RemoteException;
import org.apache.hadoop.net.NetUtils;
import org.mockito.Mockito;
import org.mockito.stubbing.Answer;

/**
 * What suites ask of a NameNode's objects, answered as far as a client of the process can know it. Everything else is null.
 */
public final class NameNodeFromOutside {
  private NameNodeFromOutside() {
  }

  /** The NameNode with this RPC port. */
  public static NameNode at(MiniDFSCluster cluster, int port, String httpAddress) {
    NameNode namenode = Mockito.mock(NameNode.class);
    Mockito.when(namenode.getNameNodeAddress()).thenReturn(NetUtils.createSocketAddr("localhost", port));
    Mockito.when(namenode.getHttpAddress()).thenReturn(NetUtils.createSocketAddr(httpAddress));
    Mockito.when(namenode.getRpcServer()).thenAnswer(call -> rpc(cluster));
    Mockito.when(namenode.getNamesystem()).thenAnswer(call -> namesystem(cluster));
    return namenode;
  }

  /** Calls of ClientProtocol over RPC; the other protocols are for daemons. */
  private static NamenodeProtocols rpc(MiniDFSCluster cluster) throws IOException {
    ClientProtocol client =
        NameNodeProxies.createProxy(cluster.getConfiguration(0), cluster.getURI(), ClientProtocol.class).getProxy();
    Class<?>[] faces = {NamenodeProtocols.class};
    return (NamenodeProtocols) Proxy.newProxyInstance(faces[0].getClassLoader(), faces, (self, method, args) -> {
      try {
        return method.invoke(client, args);
      } catch (InvocationTargetException e) {
        throw e.getCause() instanceof RemoteException remote ? remote.unwrapRemoteException() : e.getCause();
      }
    });
  }

  private static FSNamesystem namesystem(MiniDFSCluster cluster) throws IOException {
    FSNamesystem namesystem = Mockito.mock(FSNamesystem.class);
    FSDirectory directory = Mockito.mock(FSDirectory.class);
    Mockito.when(namesystem.getFSDirectory()).thenReturn(directory);
    Mockito.when(directory.getINode(Mockito.anyString(), Mockito.any()))
        .thenAnswer(call -> inode(cluster, new Path(call.getArgument(0, String.class))));
    if (cluster.getKeyProvider() != null) {
      Mockito.when(namesystem.getProvider())
          .thenReturn(KeyProviderCryptoExtension.createKeyProviderCryptoExtension(cluster.getKeyProvider()));
    }
    Mockito.when(namesystem.getNumEncryptionZones()).thenAnswer(call -> zones(cluster));
    ClientProtocol client = rpc(cluster);
    Mockito.doAnswer(call -> client.setSafeMode(SafeModeAction.SAFEMODE_ENTER, false))
        .when(namesystem).enterSafeMode(Mockito.anyBoolean());
    Mockito.doAnswer(call -> client.setSafeMode(SafeModeAction.SAFEMODE_LEAVE, false))
        .when(namesystem).leaveSafeMode(Mockito.anyBoolean());
    Mockito.doAnswer(call -> client.saveNamespace(0, 0))
        .when(namesystem).saveNamespace(Mockito.anyLong(), Mockito.anyLong());
    return namesystem;
  }

  private static int zones(MiniDFSCluster cluster) throws IOException {
    int count = 0;
    try (DistributedFileSystem fs = cluster.getFileSystem()) {
      for (RemoteIterator<EncryptionZone> all = fs.listEncryptionZones(); all.hasNext(); all.next()) {
        count++;
      }
    }
    return count;
  }

  /** An inode with the permissions and the ACL that the path has. */
  private static INode inode(MiniDFSCluster cluster, Path path) throws IOException {
    try (DistributedFileSystem fs = cluster.getFileSystem()) {
      FileStatus status = fs.getFileStatus(path);
      PermissionStatus owner = new PermissionStatus(status.getOwner(), status.getGroup(), status.getPermission());
      INodeDirectory inode = new INodeDirectory(0, path.getName().getBytes(), owner, 0);
      if (status.hasAcl()) {
        List<AclEntry> entries = fs.getAclStatus(path).getEntries();
        AclStorage.updateINodeAcl(inode, AclUtil.getAclFromPermAndEntries(status.getPermission(), entries),
            Snapshot.CURRENT_STATE_ID);
      }
      return inode;
    }
  }
}
