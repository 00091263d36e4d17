/** Generates types of the HTTP routes from the checked-in OpenAPI documents: `npm run types`, into sdk/generated/. */

import { mkdirSync, writeFileSync } from 'node:fs';
import openapi, { astToString } from 'openapi-typescript';

const target = new URL('../sdk/generated/', import.meta.url);
mkdirSync(target, { recursive: true });
for (const service of ['auth', 'user', 'chat', 'message', 'ai']) {
  const source = new URL(`../../docs/api/${service}.json`, import.meta.url);
  writeFileSync(new URL(`${service}.ts`, target), astToString(await openapi(source)));
}
