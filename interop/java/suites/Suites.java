import static org.junit.platform.engine.discovery.DiscoverySelectors.selectClass;

import java.io.PrintStream;
import java.lang.reflect.Field;
import java.util.List;
import java.util.Optional;
import org.apache.hadoop.ipc.Client;
import org.junit.platform.engine.FilterResult;
import org.junit.platform.engine.TestExecutionResult;
import org.junit.platform.engine.TestSource;
import org.junit.platform.engine.support.descriptor.MethodSource;
import org.junit.platform.launcher.LauncherDiscoveryRequest;
import org.junit.platform.launcher.PostDiscoveryFilter;
import org.junit.platform.launcher.TestExecutionListener;
import org.junit.platform.launcher.TestIdentifier;
import org.junit.platform.launcher.core.LauncherDiscoveryRequestBuilder;
import org.junit.platform.launcher.core.LauncherFactory;

/**
 * Runs test classes and prints a line for each test: {@code RESULT}, its outcome ({@code PASSED}, {@code FAILED},
 * {@code SKIPPED}), class and name, and the first line of what was wrong, with tabs between. The system property
 * {@code suites.without} names tests that are left out, with commas between: {@code CLASS#METHOD}.
 */
public class Suites implements TestExecutionListener {
  /** Some suites put a stream of their own in its place. */
  private static final PrintStream OUT = System.out;

  public static void main(String[] classes) {
    LauncherDiscoveryRequestBuilder request = LauncherDiscoveryRequestBuilder.request();
    for (String name : classes) {
      request.selectors(selectClass(name));
    }
    List<String> left = List.of(System.getProperty("suites.without", "").split(","));
    request.filters((PostDiscoveryFilter) test -> FilterResult.includedIf(
        test.getSource().map(source -> !left.contains(named(source))).orElse(true)));
    LauncherDiscoveryRequest all = request.build();
    LauncherFactory.create().execute(all, new Suites());
    OUT.println("END");
    OUT.flush();
    // Clients' threads would keep the process.
    System.exit(0);
  }

  /** A test that fails within a call leaves its number for the next call of the thread, which then fails as well. */
  @Override
  public void executionStarted(TestIdentifier test) {
    try {
      Field number = Client.class.getDeclaredField("callId");
      number.setAccessible(true);
      ((ThreadLocal<?>) number.get(null)).remove();
    } catch (ReflectiveOperationException e) {
      throw new IllegalStateException(e);
    }
  }

  /** Class and method. */
  private static String named(TestSource source) {
    if (source instanceof MethodSource) {
      MethodSource method = (MethodSource) source;
      return method.getClassName() + "#" + method.getMethodName();
    }
    return "";
  }

  @Override
  public void executionSkipped(TestIdentifier test, String reason) {
    if (test.isTest()) {
      print("SKIPPED", test, reason);
    }
  }

  @Override
  public void executionFinished(TestIdentifier test, TestExecutionResult result) {
    String why = result.getThrowable().map(Suites::told).orElse("");
    switch (result.getStatus()) {
      case SUCCESSFUL:
        if (test.isTest()) {
          print("PASSED", test, "");
        }
        break;
      case ABORTED:
        if (test.isTest()) {
          print("SKIPPED", test, why);
        }
        break;
      default:
        // A class fails when what stands before its tests does.
        print("FAILED", test, why);
        if (System.getProperty("suites.traces") != null) {
          result.getThrowable().ifPresent(Throwable::printStackTrace);
        }
    }
  }

  private static String told(Throwable thrown) {
    return String.valueOf(thrown).lines().findFirst().orElse("");
  }

  private static void print(String outcome, TestIdentifier test, String why) {
    Optional<MethodSource> method = test.getSource().filter(MethodSource.class::isInstance).map(MethodSource.class::cast);
    String suite = method.map(MethodSource::getClassName).orElse("");
    String name = method.map(MethodSource::getMethodName).orElse(test.getLegacyReportingName());
    String shown = test.getDisplayName().equals(name + "()") ? name : name + " " + test.getDisplayName();
    OUT.println(String.join("\t", "RESULT", outcome, suite, shown.replaceAll("\\s+", " "), why));
    OUT.flush();
  }
}
