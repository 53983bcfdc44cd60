import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.introspect.Annotated;
import com.fasterxml.jackson.databind.introspect.JacksonAnnotationIntrospector;
import com.fasterxml.jackson.datatype.jsr310.JavaTimeModule;
import io.strimzi.api.kafka.model.kafka.Kafka;
import io.strimzi.api.kafka.model.nodepool.KafkaNodePool;
import io.strimzi.api.kafka.model.topic.KafkaTopic;
import io.strimzi.api.kafka.model.user.KafkaUser;
import java.util.Map;

/** Reads a JSON array of manifests and prints a line for each that Strimzi's model of its resources does not know whole. */
public class StrimziManifests {
    private static final Map<String, Class<?>> KINDS = Map.of(
        "Kafka", Kafka.class, "KafkaNodePool", KafkaNodePool.class, "KafkaTopic", KafkaTopic.class, "KafkaUser", KafkaUser.class);

    public static void main(String[] arguments) throws Exception {
        ObjectMapper mapper = new ObjectMapper().registerModule(new JavaTimeModule());
        // The model keeps unknown fields in a map ("any setter"); without it they are errors.
        mapper.setAnnotationIntrospector(new JacksonAnnotationIntrospector() {
            private static final long serialVersionUID = 1L;

            @Override
            public Boolean hasAnySetter(Annotated annotated) {
                return Boolean.FALSE;
            }
        });
        for (JsonNode document : mapper.readTree(System.in)) {
            String name = document.get("kind").asText() + " " + document.get("metadata").get("name").asText();
            try {
                mapper.treeToValue(document, KINDS.get(document.get("kind").asText()));
            } catch (Exception error) {
                System.out.println(name + ": " + error.getMessage().split("\n")[0]);
            }
        }
        System.out.println("read");
    }
}
