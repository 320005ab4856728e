import java.util.Arrays;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.io.erasurecode.CodecUtil;
import org.apache.hadoop.io.erasurecode.ErasureCoderOptions;
import org.apache.hadoop.io.erasurecode.rawcoder.RawErasureEncoder;

/** Prints the parity that Hadoop's coders compute, for core/coding/src/coder/recorded.txt. */
public class Coders {
  public static void main(String[] args) throws Exception {
    System.out.println("# java Coders.java with the classes of Hadoop 3.5.0: codec, data units, parity units, bytes, parity");
    print("rs", 3, 2, 40);
    print("rs", 6, 3, 24);
    print("rs", 10, 4, 16);
    print("rs", 1, 1, 8);
    print("rs-legacy", 3, 2, 40);
    print("rs-legacy", 6, 3, 24);
    print("rs-legacy", 10, 4, 16);
    print("xor", 2, 1, 40);
    print("xor", 5, 1, 16);
  }

  private static void print(String codec, int data, int parity, int length) throws Exception {
    Configuration conf = new Configuration();
    for (String name : new String[] {"rs", "rs-legacy", "xor"}) {
      conf.set("io.erasurecode.codec." + name + ".rawcoders", name + "_java");
    }
    RawErasureEncoder encoder = CodecUtil.createRawEncoder(conf, codec, new ErasureCoderOptions(data, parity));
    byte[][] inputs = new byte[data][length];
    for (int unit = 0; unit < data; unit++) {
      for (int at = 0; at < length; at++) {
        inputs[unit][at] = (byte) (at * 31 + unit * 97 + (at >> 3) * 5 + 1);
      }
    }
    byte[][] outputs = new byte[parity][length];
    encoder.encode(inputs, outputs);
    StringBuilder line = new StringBuilder(codec + " " + data + " " + parity + " " + length);
    for (byte[] output : outputs) {
      line.append(' ');
      for (byte value : output) {
        line.append(String.format("%02x", value));
      }
    }
    System.out.println(line);
  }
}
