namespace Cowork.Cli;

/// <summary><c>cowork health</c> asks the host that works on a data directory whether it is ready, over HTTP or TLS, as the host speaks.</summary>
static class Health
{
    static readonly TimeSpan Deadline = TimeSpan.FromSeconds(3);

    /// <summary>Prints the answer's body. Answers 0 for ready, 1 for not ready or no host.</summary>
    public static async Task<int> Run(string[] options)
    {
        if (CommandOptions.Read("health", "", options) is not { } given)
        {
            return Usage.Error;
        }
        string url;
        try
        {
            url = (await File.ReadAllTextAsync(Path.Combine(given.Data, "url"))).Trim();
        }
        catch (Exception e) when (e is IOException or UnauthorizedAccessException)
        {
            Console.Error.WriteLine($"cowork: no host works on {given.Data}. Start it: ./cowork up --data {given.Data}");
            return 1;
        }
        // The address is this machine's, and the certificate is for another name. Nothing secret is sent, and the answer is a word.
        var handler = new SocketsHttpHandler { UseProxy = false, SslOptions = new() { RemoteCertificateValidationCallback = (_, certificate, _, _) => certificate is not null } };
        using var http = new HttpClient(handler) { Timeout = Deadline };
        try
        {
            using var answer = await http.GetAsync($"{url}/health/ready");
            Console.WriteLine(await answer.Content.ReadAsStringAsync());
            return answer.IsSuccessStatusCode ? 0 : 1;
        }
        catch (Exception e) when (e is HttpRequestException or OperationCanceledException)
        {
            Console.Error.WriteLine($"cowork: the host at {url} does not answer: {e.Message}");
            return 1;
        }
    }
}
