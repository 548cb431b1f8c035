// The peer in Go: the same job with net/http and go-jose, as a service without a gateway would do it.
// It checks that the body is JSON, seals it, adds a token and streams the reply. It has no access log and no metrics.
//
//	peer ADDRESS UPSTREAM JWK
package main

import (
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"

	jose "gopkg.in/square/go-jose.v2"
)

func main() {
	address, upstream := os.Args[1], os.Args[2]
	var key jose.JSONWebKey
	if err := json.Unmarshal([]byte(os.Args[3]), &key); err != nil {
		log.Fatal(err)
	}
	options := (&jose.EncrypterOptions{}).WithType("JWE")
	recipient := jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: key.Key, KeyID: key.KeyID}
	encrypter, err := jose.NewEncrypter(jose.A256CBC_HS512, recipient, options)
	if err != nil {
		log.Fatal(err)
	}
	client := &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 128, IdleConnTimeout: 30 * time.Second, DisableCompression: true},
		Timeout:   time.Minute,
	}

	handle := func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, max(r.ContentLength, 0))
		if _, err := io.ReadFull(r.Body, body); err != nil || !json.Valid(body) {
			http.Error(w, "the body is not JSON", http.StatusBadRequest)
			return
		}
		sealed, err := encrypter.Encrypt(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		message, err := sealed.CompactSerialize()
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		request, err := http.NewRequestWithContext(
			r.Context(), r.Method, upstream+r.URL.RequestURI(), strings.NewReader(message))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		request.Header.Set("Content-Type", "application/jose")
		request.Header.Set("Authorization", "Bearer bench-token")
		response, err := client.Do(request)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		w.Header().Set("Content-Type", response.Header.Get("Content-Type"))
		w.Header().Set("Content-Length", strconv.FormatInt(response.ContentLength, 10))
		w.WriteHeader(response.StatusCode)
		io.Copy(w, response.Body)
	}
	log.Fatal(http.ListenAndServe(address, http.HandlerFunc(handle)))
}

func max(a, b int64) int64 {
	if a > b {
		return a
	}
	return b
}
