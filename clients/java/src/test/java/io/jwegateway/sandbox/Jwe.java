package io.jwegateway.sandbox;

import com.fasterxml.jackson.databind.JsonNode;
import java.io.ByteArrayOutputStream;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.KeyFactory;
import java.security.PublicKey;
import java.security.SecureRandom;
import java.security.spec.MGF1ParameterSpec;
import java.security.spec.RSAPublicKeySpec;
import java.util.Arrays;
import java.util.Base64;
import javax.crypto.Cipher;
import javax.crypto.Mac;
import javax.crypto.spec.IvParameterSpec;
import javax.crypto.spec.OAEPParameterSpec;
import javax.crypto.spec.PSource;
import javax.crypto.spec.SecretKeySpec;

/** Seals with the JDK alone: RSA-OAEP-256 and A256CBC-HS512 (RFC 7518 sections 4.3 and 5.2). */
final class Jwe {
    private static final Base64.Encoder BASE64URL = Base64.getUrlEncoder().withoutPadding();

    private Jwe() { }

    static String seal(byte[] plaintext, JsonNode jwk) throws Exception {
        String header = "{\"alg\":\"RSA-OAEP-256\",\"enc\":\"A256CBC-HS512\",\"typ\":\"JWE\",\"kid\":" + jwk.get("kid") + "}";
        byte[] aad = encode(header.getBytes(StandardCharsets.UTF_8)).getBytes(StandardCharsets.US_ASCII);
        byte[] cek = random(64);
        byte[] iv = random(16);

        var modulus = new BigInteger(1, Base64.getUrlDecoder().decode(jwk.get("n").textValue()));
        var exponent = new BigInteger(1, Base64.getUrlDecoder().decode(jwk.get("e").textValue()));
        PublicKey key = KeyFactory.getInstance("RSA").generatePublic(new RSAPublicKeySpec(modulus, exponent));
        Cipher rsa = Cipher.getInstance("RSA/ECB/OAEPPadding");
        rsa.init(Cipher.ENCRYPT_MODE, key, new OAEPParameterSpec("SHA-256", "MGF1", MGF1ParameterSpec.SHA256, PSource.PSpecified.DEFAULT));

        Cipher aes = Cipher.getInstance("AES/CBC/PKCS5Padding");
        aes.init(Cipher.ENCRYPT_MODE, new SecretKeySpec(cek, 32, 32, "AES"), new IvParameterSpec(iv));
        byte[] ciphertext = aes.doFinal(plaintext);

        Mac mac = Mac.getInstance("HmacSHA512");
        mac.init(new SecretKeySpec(cek, 0, 32, "HmacSHA512"));
        var authenticated = new ByteArrayOutputStream();
        authenticated.write(aad);
        authenticated.write(iv);
        authenticated.write(ciphertext);
        authenticated.write(ByteBuffer.allocate(8).putLong(aad.length * 8L).array());
        byte[] tag = Arrays.copyOf(mac.doFinal(authenticated.toByteArray()), 32);

        return String.join(".", new String(aad, StandardCharsets.US_ASCII), encode(rsa.doFinal(cek)), encode(iv), encode(ciphertext), encode(tag));
    }

    private static String encode(byte[] octets) {
        return BASE64URL.encodeToString(octets);
    }

    private static byte[] random(int length) {
        byte[] octets = new byte[length];
        new SecureRandom().nextBytes(octets);
        return octets;
    }
}
