<?php
// A backend in PHP, without packages: `php -S 127.0.0.1:PORT backend.php`.
declare(strict_types=1);

/** Returns whether a holder of the secret signed the request in the last five minutes. */
function is_signed(string $body): bool
{
    $id = $_SERVER['HTTP_WEBHOOK_ID'] ?? '';
    $timestamp = $_SERVER['HTTP_WEBHOOK_TIMESTAMP'] ?? '';
    if (!ctype_digit($timestamp) || abs(time() - (int) $timestamp) > 300) {
        return false;
    }
    $key = base64_decode(substr(getenv('WEBHOOK_SECRET'), strlen('whsec_')));
    $expected = 'v1,' . base64_encode(hash_hmac('sha256', "$id.$timestamp.$body", $key, true));
    foreach (explode(' ', $_SERVER['HTTP_WEBHOOK_SIGNATURE'] ?? '') as $signature) {
        if (hash_equals($expected, $signature)) {
            return true;
        }
    }
    return false;
}

/** Calls an operation of the API. A body makes it a POST. */
function call(string $operation, ?array $body = null, array $headers = []): array
{
    $headers = ['Authorization: Bearer ' . getenv('API_KEY'), 'Content-Type: application/json', ...$headers];
    $http = ['method' => $body ? 'POST' : 'GET', 'header' => $headers, 'ignore_errors' => true];
    if ($body) {
        $http['content'] = json_encode($body, JSON_THROW_ON_ERROR);
    }
    $answer = file_get_contents(getenv('API') . "/$operation", false, stream_context_create(['http' => $http]));
    if ($answer === false || !str_contains($http_response_header[0], ' 200')) {
        throw new RuntimeException("$operation: $answer");
    }
    return json_decode($answer, true, 512, JSON_THROW_ON_ERROR);
}

function connect(array $message): array
{
    $name = $message['auth']['name'] ?? null;
    if (!$name) {
        return ['allow' => false, 'error' => ['message' => 'send a name', 'data' => ['backend' => 'php']]];
    }
    return ['allow' => true, 'data' => ['name' => $name], 'join' => ['everyone']];
}

function say(array $message, string $id): array
{
    $namespace = $message['namespace'];
    call('join', ['namespace' => $namespace, 'rooms' => [$message['socket']], 'join' => ['talkers']]);
    $count = call('count?' . http_build_query(['namespace' => $namespace, 'room' => 'talkers']));
    $args = ['php', $message['data']['name'], $message['args'][0]];
    $event = ['namespace' => $namespace, 'rooms' => ['everyone'], 'event' => 'said', 'args' => $args];
    call('emit', $event, ["Idempotency-Key: $id"]);
    return ['ack' => [$count['sockets']]];
}

$body = file_get_contents('php://input');
if (!is_signed($body)) {
    http_response_code(401);
    return;
}
$message = json_decode($body, true, 512, JSON_THROW_ON_ERROR);
$connects = $_SERVER['HTTP_CE_TYPE'] === 'io.sociable.connect';
$answer = $connects ? connect($message) : say($message, $_SERVER['HTTP_WEBHOOK_ID']);
header('Content-Type: application/json');
echo json_encode($answer, JSON_THROW_ON_ERROR);
