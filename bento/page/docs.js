// The API reference: Swagger UI over the service's own description.

import { call } from "./api.js";
import { authorization } from "./key.js";

try {
  const response = await call("openapi.json");
  const spec = await response.json();
  // The description's address is that of this page's folder.
  spec.servers = [{ url: new URL(".", location.href).pathname.replace(/\/$/, "") || "/" }];
  // The key that was typed into our dialog; one of Swagger UI's own goes before it.
  const requestInterceptor = (request) => {
    request.headers = { ...authorization(), ...request.headers };
    return request;
  };
  SwaggerUIBundle({ spec, dom_id: "#page", deepLinking: true, validatorUrl: null, requestInterceptor });
} catch (error) {
  document.getElementById("page").textContent = error.message;
}
