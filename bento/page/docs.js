// The API reference: Swagger UI over the service's own description.

import { call } from "./api.js";

const response = await call("openapi.json");
const spec = await response.json();
// The description's address is that of this page's folder.
spec.servers = [{ url: new URL(".", location.href).pathname.replace(/\/$/, "") || "/" }];
SwaggerUIBundle({ spec, dom_id: "#page", deepLinking: true });
