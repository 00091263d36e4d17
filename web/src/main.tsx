/** The page begins here: the world, the login, then everything else. */

import { StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { browserEnvironment, SessionKeeper } from '../sdk';
import { App } from './App';
import { applyTheme, firstTheme } from './shell/theme';
import './shell/base.css';

applyTheme(firstTheme());

const root = document.getElementById('root');
if (root === null) throw new Error('the page has no root');

const env = await browserEnvironment();
createRoot(root).render(
  <StrictMode>
    <App env={env} sessions={new SessionKeeper(env)} />
  </StrictMode>,
);
