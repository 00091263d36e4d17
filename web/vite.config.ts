import react from '@vitejs/plugin-react';
import { defineConfig } from 'vitest/config';

const server = process.env.MESSENGER_URL ?? 'http://localhost:8080';

export default defineConfig({
  plugins: [react()],
  // The page is served under a policy that allows no inline script and no foreign host, so the build inlines nothing.
  build: { assetsInlineLimit: 0, modulePreload: { polyfill: false }, target: 'es2022' },
  server: { proxy: { '/api': server, '/ws': { target: server, ws: true } } },
  test: { include: ['sdk/test/**/*.test.ts', 'src/**/*.test.{ts,tsx}'], environment: 'node' },
});
