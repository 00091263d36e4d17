/** What every member may know: who has an AI in this chat, and whether it works. */

import type { Binding, ChatView } from '../../sdk';
import { SparkIcon } from '../shell/icons';
import { useMessenger } from '../shell/messenger';
import { useSpeech } from '../text';
import './assistant.css';

export function Banner({ chat }: { chat: ChatView }) {
  if (chat.bindings.length === 0) return null;
  return (
    <ul className="banner" data-testid="assistant-banner">
      {chat.bindings.map((binding) => (
        <BannerLine key={binding.owner} chat={chat} binding={binding} />
      ))}
    </ul>
  );
}

function BannerLine({ chat, binding }: { chat: ChatView; binding: Binding }) {
  const { t } = useSpeech();
  const { me } = useMessenger();
  const { banner } = t.assistant;
  const { owner, mode, state } = binding;
  const own = owner === me.id;
  const name = chat.members.find(({ id }) => id === owner)?.username ?? '…';
  const other = mode === 'advice' ? banner.otherAdvice(name) : banner.otherAutoreply(name);
  const mine = mode === 'advice' ? banner.ownAdvice : banner.ownAutoreply;
  return (
    <li data-testid="assistant-state" data-owner={own ? 'me' : name} data-mode={mode} data-state={state}>
      <SparkIcon />
      <span>
        {own ? mine : other}
        {state === 'pending' && ` ${banner.pending}`}
        {state === 'failed' && ` ${banner.failed}`}
      </span>
    </li>
  );
}
