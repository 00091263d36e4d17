/** Two panes on a wide page, one at a time on a narrow one. */

import { useEffect } from 'react';
import { ChatsPane } from './chats/ChatsPane';
import { Conversation } from './chats/Conversation';
import { Settings } from './settings/Settings';
import { useActivity } from './shell/activity';
import { useMessengerState } from './shell/messenger';
import { useRoute } from './shell/route';
import { useSpeech } from './text';

export function Home() {
  const route = useRoute();
  useTitle();
  useActivity();
  return (
    <main className={route.at === 'home' ? 'home' : 'home in-pane'}>
      <ChatsPane chosen={route.at === 'chat' ? route.chat : null} />
      {route.at === 'chat' && <Conversation key={route.chat} id={route.chat} />}
      {route.at === 'settings' && <Settings />}
      {route.at === 'home' && <Nothing />}
    </main>
  );
}

function Nothing() {
  const { t } = useSpeech();
  return (
    <div className="nothing pane">
      <p className="muted">{t.chats.choose}</p>
    </div>
  );
}

/** What is unread stands in the title, for tabs in the background. */
function useTitle(): void {
  const { t } = useSpeech();
  const unread = useMessengerState((state) => [...state.chats.values()].reduce((sum, chat) => sum + chat.unread, 0));
  useEffect(() => {
    document.title = unread > 0 ? `(${unread}) ${t.appName}` : t.appName;
  }, [unread, t]);
}
