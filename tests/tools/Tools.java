import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.lang.reflect.InvocationTargetException;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import org.apache.kafka.common.utils.Exit;

/**
 * Runs Kafka's command line tools one after the other in this process, which starts once.
 *
 * Each line of standard input is {"tool": CLASS, "arguments": [...], "input": TEXT}; each is
 * answered by {"status": n, "said": TEXT}: the exit code, and what the tool printed.
 */
public final class Tools {
    /** Thrown instead of leaving the process. */
    private static final class Left extends Error {
        private static final long serialVersionUID = 1;

        private Left() {
            super("the tool leaves", null, false, false);
        }
    }

    /** Of the first time that the tool wanted to leave: some catch what is thrown for it. */
    private static volatile Integer status;

    public static void main(String[] none) throws Exception {
        Exit.setExitProcedure(Tools::leave);
        Exit.setHaltProcedure(Tools::leave);
        Exit.setShutdownHookAdder((name, hook) -> { });
        ObjectMapper json = new ObjectMapper();
        PrintStream out = System.out;
        BufferedReader in =
            new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            JsonNode asked = json.readTree(line);
            List<String> arguments = new ArrayList<>();
            asked.get("arguments").forEach(argument -> arguments.add(argument.asText()));
            ByteArrayOutputStream said = new ByteArrayOutputStream();
            byte[] input = asked.get("input").asText().getBytes(StandardCharsets.UTF_8);
            System.setIn(new ByteArrayInputStream(input));
            try (PrintStream both = new PrintStream(said, true, StandardCharsets.UTF_8)) {
                System.setOut(both);
                System.setErr(both);
                status = null;
                run(asked.get("tool").asText(), arguments.toArray(String[]::new));
            }
            String text = said.toString(StandardCharsets.UTF_8);
            int code = status == null ? 0 : status;
            out.println(json.writeValueAsString(Map.of("status", code, "said", text)));
            out.flush();
        }
    }

    private static void leave(int code, String message) {
        if (message != null) {
            System.err.println(message);
        }
        leaveOnce(code);
        throw new Left();
    }

    private static void leaveOnce(int code) {
        if (status == null) {
            status = code;
        }
    }

    private static void run(String tool, String[] arguments) throws Exception {
        try {
            Class.forName(tool).getMethod("main", String[].class).invoke(null, (Object) arguments);
        } catch (InvocationTargetException error) {
            if (!(error.getCause() instanceof Left)) {
                error.getCause().printStackTrace();
                leaveOnce(1);
            }
        }
    }
}
