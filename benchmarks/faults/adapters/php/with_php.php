<?php
// PHP's own sessions in Redis, by the redis extension.
// As documented: session.save_handler redis with its timeouts, redis.session.locking_enabled, strict mode, session_regenerate_id at login,
// session_destroy at logout. PHP's own server stands for a web server with PHP-FPM.

$redis = parse_url(getenv('REDIS_URL'));
$timeout = getenv('REDIS_TIMEOUT_SECONDS');
ini_set('session.save_handler', 'redis');
ini_set('session.save_path', "tcp://{$redis['host']}:{$redis['port']}?timeout=$timeout&read_timeout=$timeout");
ini_set('session.use_strict_mode', '1');
ini_set('redis.session.locking_enabled', '1');
ini_set('display_errors', '0');

function answer(int $status, ?array $body = null): never
{
    http_response_code($status);
    header('Content-Type: application/json');
    echo $body === null ? '' : json_encode($body);
    exit;
}

function saved(): void
{
    answer(session_write_close() ? 204 : 500);
}

[$route, $key, $value] = array_pad(explode('/', trim(parse_url($_SERVER['REQUEST_URI'], PHP_URL_PATH), '/')), 3, null);
if ($route === 'revoke-all') {
    answer(501);
}
try {
    if (!session_start()) {
        answer(500);
    }
    if ($route === 'login') {
        $_SESSION = ['user' => $key];
        session_regenerate_id(true) ? saved() : answer(500);
    }
    if ($route === 'logout') {
        $_SESSION = [];
        answer(session_destroy() ? 204 : 500);
    }
    if (!isset($_SESSION['user'])) {
        answer(401);
    }
    if ($route === 'set') {
        $_SESSION[$key] = $value;
        saved();
    }
    session_write_close();
    answer(200, $route === 'whoami' ? ['user' => $_SESSION['user']] : ['value' => $_SESSION[$key] ?? null]);
} catch (RedisException) {
    answer(500);
}
