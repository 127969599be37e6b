namespace Cowork.Application.Models;

/// <summary>Waits for a model as long as its time-outs say, and knows which one is over.</summary>
sealed class ModelDeadline : IDisposable
{
    readonly ModelTimeouts timeouts;
    readonly CancellationToken caller;
    readonly CancellationTokenSource next;
    readonly CancellationTokenSource whole;
    readonly CancellationTokenSource any;
    bool answering;

    public ModelDeadline(ModelTimeouts timeouts, TimeProvider clock, CancellationToken caller)
    {
        this.timeouts = timeouts;
        this.caller = caller;
        next = new(timeouts.FirstByte, clock);
        whole = new(timeouts.Whole, clock);
        any = CancellationTokenSource.CreateLinkedTokenSource(caller, next.Token, whole.Token);
    }

    public CancellationToken Token => any.Token;

    /// <summary>Something came: the wait for the next thing begins.</summary>
    public void Renew()
    {
        answering = true;
        next.CancelAfter(timeouts.Between);
    }

    /// <summary>What an exception means that came while waiting; null: the caller cancelled.</summary>
    public ModelException? Over(Exception e) =>
        caller.IsCancellationRequested ? null
        : whole.IsCancellationRequested ? new(ModelException.Failed, $"The model's answer took longer than {timeouts.Whole}.", e)
        : !next.IsCancellationRequested ? new(ModelException.Failed, "The model's answer was cancelled from outside.", e)
        : answering ? new(ModelException.Failed, $"The model's answer stood still for {timeouts.Between}.", e)
        : new(ModelException.Unavailable, $"The model did not begin to answer within {timeouts.FirstByte}.", e);

    public void Dispose()
    {
        any.Dispose();
        next.Dispose();
        whole.Dispose();
    }
}
