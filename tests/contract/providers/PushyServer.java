// In pushy's package, because the texts of its reasons are visible there only.
package com.eatthepath.pushy.apns.server;

import com.eatthepath.pushy.apns.auth.ApnsVerificationKey;
import io.netty.buffer.ByteBuf;
import io.netty.channel.nio.NioEventLoopGroup;
import io.netty.handler.codec.http2.Http2Headers;
import java.io.File;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.Arrays;
import java.util.Base64;
import java.util.Map;
import java.util.Set;

/**
 * pushy's server as a process. Arguments: port, certificate and its key (PEM), verification key (PEM), team, key id, topic, device token,
 * token of a removed app, streams.
 *
 * <p>First it prints the reasons that it knows, then "ready", then a line for each notification: "accepted" or the reason, the headers and
 * the payload, in base64. A device token that begins with "e" and has the number of a reason in its last two digits is rejected for it,
 * once the rest of the request is valid. Each line of its input is a command: "stop" shuts the server down, "start" starts it again.
 */
public class PushyServer {
    public static void main(final String[] arguments) throws Exception {
        final var key = ApnsVerificationKey.loadFromPkcs8File(new File(arguments[3]), arguments[4], arguments[5]);
        final String topic = arguments[6];
        final Set<String> tokens = new java.util.HashSet<>(Set.of(arguments[7], arguments[8]));
        final RejectionReason[] reasons = RejectionReason.values();
        for (int number = 0; number < reasons.length; number++) {
            tokens.add("e".repeat(62) + String.format("%02d", number));
            System.out.println(reasons[number].getReasonText() + " " + reasons[number].getHttpResponseStatus().code());
        }
        final var validating = new ValidatingPushNotificationHandlerFactory(
                Map.of(topic, tokens),
                Map.of(arguments[8], Instant.ofEpochSecond(1700000000)),
                Map.of(arguments[5], key),
                Map.of(key, Set.of(topic)));
        final var group = new NioEventLoopGroup(1);
        final MockApnsServerBuilder builder = new MockApnsServerBuilder()
                .setServerCredentials(new File(arguments[1]), new File(arguments[2]), null)
                .setEventLoopGroup(group)
                .setUseAlpn(true)
                .setMaxConcurrentStreams(Integer.parseInt(arguments[9]))
                .setHandlerFactory(session -> {
                    final PushNotificationHandler handler = validating.buildHandler(session);
                    return (headers, payload) -> {
                        headers.set("authorization", withDerSignature(headers.get("authorization").toString()));
                        handler.handlePushNotification(headers, payload);
                        final String path = headers.path().toString();
                        if (path.startsWith("/3/device/e")) {
                            throw new RejectedNotificationException(reasons[Integer.parseInt(path.substring(path.length() - 2))]);
                        }
                    };
                })
                .setListener(new MockApnsServerListener() {
                    @Override
                    public void handlePushNotificationAccepted(final Http2Headers headers, final ByteBuf payload) {
                        print("accepted", headers, payload);
                    }

                    @Override
                    public void handlePushNotificationRejected(
                            final Http2Headers headers, final ByteBuf payload, final RejectionReason reason, final Instant since) {
                        print(reason.getReasonText(), headers, payload);
                    }
                });
        final int port = Integer.parseInt(arguments[0]);
        MockApnsServer server = builder.build();
        server.start(port).get();
        System.out.println("ready");
        final var commands = new java.io.BufferedReader(new java.io.InputStreamReader(System.in));
        for (String command = commands.readLine(); command != null; command = commands.readLine()) {
            if (command.equals("stop")) {
                server.shutdown().get();
            } else {
                server = builder.build();
                server.start(port).get();
            }
            System.out.println(command);
        }
        System.exit(0);
    }

    /**
     * The signature of ES256 is r and s, of 32 bytes each (RFC 7518, section 3.4). pushy's own is their DER sequence, and the only one that it
     * verifies. Apple takes both.
     */
    private static String withDerSignature(final String authorization) {
        final int end = authorization.lastIndexOf('.') + 1;
        final byte[] signature = Base64.getUrlDecoder().decode(authorization.substring(end));
        if (signature.length != 64) {
            return authorization + "AA";
        }
        final byte[] r = new BigInteger(1, Arrays.copyOfRange(signature, 0, 32)).toByteArray();
        final byte[] s = new BigInteger(1, Arrays.copyOfRange(signature, 32, 64)).toByteArray();
        final var der = ByteBuffer.allocate(6 + r.length + s.length);
        der.put((byte) 0x30).put((byte) (4 + r.length + s.length));
        der.put((byte) 2).put((byte) r.length).put(r).put((byte) 2).put((byte) s.length).put(s);
        return authorization.substring(0, end) + Base64.getUrlEncoder().withoutPadding().encodeToString(der.array());
    }

    private static synchronized void print(final String what, final Http2Headers headers, final ByteBuf payload) {
        final var lines = new StringBuilder();
        headers.forEach(header -> lines.append(header.getKey()).append(": ").append(header.getValue()).append('\n'));
        System.out.println(what + " " + base64(lines.toString()) + " " + base64(payload.toString(StandardCharsets.UTF_8)));
    }

    private static String base64(final String text) {
        return Base64.getEncoder().encodeToString(text.getBytes(StandardCharsets.UTF_8));
    }
}
