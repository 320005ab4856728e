package org.apache.hadoop.hdfs;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.UncheckedIOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.nio.charset.StandardCharsets;
import org.apache.hadoop.security.UserGroupInformation;

/**
 * Tells the daemons the groups of users that a suite makes up ({@code UserGroupInformation.createUserForTesting}), whom
 * Hadoop's cluster finds in the same process. A connection asks by a line with a user, and gets a line with the groups.
 */
final class UsersOfSuite {
  private static final int WAITING_MAX = 50;
  private static ServerSocket server;

  private UsersOfSuite() {
  }

  static synchronized int port() throws IOException {
    if (server == null) {
      server = new ServerSocket(0, WAITING_MAX, InetAddress.getLoopbackAddress());
      Thread answers = new Thread(UsersOfSuite::serve, "users-of-suite");
      answers.setDaemon(true);
      answers.start();
    }
    return server.getLocalPort();
  }

  private static void serve() {
    while (true) {
      try (Socket socket = server.accept()) {
        String user = new BufferedReader(new InputStreamReader(socket.getInputStream(), StandardCharsets.UTF_8)).readLine();
        if (user != null) {
          String[] groups = UserGroupInformation.createRemoteUser(user).getGroupNames();
          socket.getOutputStream().write((String.join(" ", groups) + "\n").getBytes(StandardCharsets.UTF_8));
        }
      } catch (IOException e) {
        throw new UncheckedIOException(e);
      }
    }
  }
}
