namespace Cowork.Kill.Tests;

/// <summary>What was accepted once stays used, and what was signed stays signed, when a host is killed.</summary>
public sealed class TrustKillSpecs : DirectorySpecs
{
    [Fact]
    public async Task A_request_that_was_accepted_is_refused_after_a_kill_and_a_restart()
    {
        var database = await Testing.TestPostgres.NewDatabase();
        var host = await HostProcess.Start(Data, database);
        try
        {
            using var app = await RequestSigner.App(host.Http, "desk");
            var group = (await host.Http.Post("/groups", """{"title":"t"}""")).Is(201)["group_id"];
            var body = $$"""{"group_id":"{{group}}","org_id":"default","user_id":"local"}""";
            var port = new Uri(host.Url).Port;
            var signed = app.Sign(host.Http, "/infra/groups", body);
            var opened = (await host.Http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).Is(201);
            var keys = (await host.Http.Get("/infra/jwks.json")).Is(200).Text;
            await host.Kill();
            await host.DisposeAsync();
            host = await HostProcess.Start(Data, database, port);
            (await host.Http.Send(signed.Method, signed.Path, signed.Body, signed.Headers)).IsProblem(401, "token_replayed");
            Assert.Equal(keys, (await host.Http.Get("/infra/jwks.json")).Is(200).Text);
            // The session's certificate is as good as before.
            using var controller = RequestSigner.Controller(opened, "orchestrator");
            (await controller.Send(host.Http, "/infra/cleanup", $$"""{"group_id":"{{group}}"}""")).Is(200);
            Assert.Equal(0, await host.Stop());
        }
        finally
        {
            await host.DisposeAsync();
        }
    }
}
