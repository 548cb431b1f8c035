// Takes plain JSON, seals it with go-jose, sends it to the provider. After a refusal it fetches the keys again, but it does
// not send the refused request again.
package main

import (
	"bytes"
	"encoding/json"
	"io"
	"log"
	"net/http"
	"os"
	"strings"
	"sync"

	jose "gopkg.in/square/go-jose.v2"
)

var (
	provider  = os.Getenv("PROVIDER_URL")
	mutex     sync.Mutex
	encrypter jose.Encrypter
)

func fetchKeys() {
	reply, err := http.Get(provider + "/.well-known/jwks.json")
	check(err)
	defer reply.Body.Close()
	var set jose.JSONWebKeySet
	check(json.NewDecoder(reply.Body).Decode(&set))
	recipient := jose.Recipient{Algorithm: jose.RSA_OAEP_256, Key: set.Keys[0].Key, KeyID: set.Keys[0].KeyID}
	made, err := jose.NewEncrypter(jose.A256CBC_HS512, recipient, nil)
	check(err)
	mutex.Lock()
	defer mutex.Unlock()
	encrypter = made
}

func fetchToken() string {
	body, err := json.Marshal(map[string]string{
		"client_id": os.Getenv("CLIENT_ID"), "client_secret": os.Getenv("CLIENT_SECRET"), "grant_type": "client_credentials",
	})
	check(err)
	reply, err := http.Post(provider+"/v0/token", "application/json", bytes.NewReader(body))
	check(err)
	defer reply.Body.Close()
	var granted struct {
		AccessToken string `json:"access_token"`
	}
	check(json.NewDecoder(reply.Body).Decode(&granted))
	return granted.AccessToken
}

func seal(body []byte) string {
	mutex.Lock()
	current := encrypter
	mutex.Unlock()
	object, err := current.Encrypt(body)
	check(err)
	message, err := object.CompactSerialize()
	check(err)
	return message
}

func main() {
	fetchKeys()
	token := fetchToken()
	http.HandleFunc("/", func(writer http.ResponseWriter, request *http.Request) {
		body, err := io.ReadAll(request.Body)
		check(err)
		sealed, err := http.NewRequest("POST", provider+request.URL.Path, strings.NewReader(seal(body)))
		check(err)
		sealed.Header.Set("Content-Type", "application/jose")
		sealed.Header.Set("Authorization", "Bearer "+token)
		reply, err := http.DefaultClient.Do(sealed)
		check(err)
		defer reply.Body.Close()
		if reply.StatusCode == http.StatusBadRequest {
			fetchKeys()
		}
		writer.WriteHeader(reply.StatusCode)
		_, err = io.Copy(writer, reply.Body)
		check(err)
	})
	check(http.ListenAndServe("127.0.0.1:"+os.Getenv("PORT"), nil))
}

// A panic in a handler ends the process too: the drill then says that the client ended.
func check(err error) {
	if err != nil {
		log.Fatal(err)
	}
}
