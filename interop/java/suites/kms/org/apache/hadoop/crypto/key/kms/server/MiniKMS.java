package org.apache.hadoop.crypto.key.kms.server;

import java.io.File;
import java.io.IOException;
import java.net.URL;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.crypto.key.KeyProvider;
import org.apache.hadoop.util.KMSUtil;

/**
 * As Hadoop's class of this name, which is not published with what it needs: the KMS that runs in a process of its own, without
 * keys at first.
 *
 * <p>The system property {@code hathi.kms} names it, as {@code hadoop.security.key.provider.path} does.
 */
public class MiniKMS {
  private static final String PROVIDER = System.getProperty("hathi.kms");

  /** As in Hadoop. */
  public static class Builder {
    /** It has its own. */
    public Builder setKmsConfDir(File dir) {
      return this;
    }

    public MiniKMS build() {
      return new MiniKMS();
    }
  }

  /** Forgets the keys of the last test. */
  public void start() throws IOException {
    Configuration conf = new Configuration();
    conf.set("kms", PROVIDER);
    KeyProvider keys = KMSUtil.createKeyProvider(conf, "kms");
    for (String key : keys.getKeys()) {
      keys.deleteKey(key);
    }
    keys.close();
  }

  public URL getKMSUrl() {
    try {
      return new URL(PROVIDER.replace("kms://http@", "http://"));
    } catch (IOException e) {
      throw new IllegalStateException(e);
    }
  }

  public void stop() {
  }
}
