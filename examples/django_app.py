"""A Django project in one file: a view that answers an uploaded video with its MP3.

    pip install django gunicorn
    python django_app.py runserver                                  # to try it
    gunicorn django_app:application --workers 4 --timeout 600       # in production, a worker for each core
    curl -F video=@talk.mp4 -F bitrate=128 http://127.0.0.1:8000/mp3 -o talk.mp3

In production:

- Each of gunicorn's workers answers one request at a time, so each conversion takes one core: `jobs=1`. With
  `--threads` a worker goes on answering others meanwhile, since micropy releases the GIL.
- gunicorn kills a worker that is busy for 30 seconds; `--timeout` says how long the longest conversion may take. Where
  people upload hours, answer at once and convert in a task: see celery_tasks.py.
- Django keeps an upload of more than 2.5 MB in a temporary file (FILE_UPLOAD_TEMP_DIR), and the MP3 goes to another.
- DATA_UPLOAD_MAX_MEMORY_SIZE does not count files: the view looks at the length of the body before it reads it. Under
  ASGI, the body is on disk before any view is called: set the limit at your proxy as well.
- There is no session here, so nothing that a foreign page could misuse. Where there is one, keep CsrfViewMiddleware.
"""

import os
import sys
import tempfile
from pathlib import PurePath

import micropy
from django import forms
from django.conf import settings
from django.core.wsgi import get_wsgi_application
from django.http import FileResponse, JsonResponse
from django.urls import path
from django.views.decorators.http import require_POST

MAX_UPLOAD = int(os.environ.get("MAX_UPLOAD", 2 << 30))  # bytes

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=os.environ.get("ALLOWED_HOSTS", "127.0.0.1 localhost").split(),
    # Without DEBUG, Django would tell nobody why it answers 500.
    LOGGING={"version": 1, "disable_existing_loggers": False,
             "handlers": {"console": {"class": "logging.StreamHandler"}}, "root": {"handlers": ["console"]}},
)


class Upload(forms.Form):
    video = forms.FileField()
    bitrate = forms.TypedChoiceField(
        choices=[(kbps, kbps) for kbps in (64, 96, 128, 192, 256, 320)], coerce=int, empty_value=128, required=False)


@require_POST
def mp3(request):
    if int(request.META.get("CONTENT_LENGTH") or 0) > MAX_UPLOAD:
        return JsonResponse({"error": f"more than {MAX_UPLOAD} bytes"}, status=413)
    form = Upload(request.POST, request.FILES)
    if not form.is_valid():
        return JsonResponse({"error": form.errors}, status=400)
    video = form.cleaned_data["video"]
    # This file has no name: whatever ends the process, nothing is left of it.
    made = tempfile.TemporaryFile()
    try:
        micropy.convert(video, made, bitrate=form.cleaned_data["bitrate"], jobs=1)
    except micropy.MicropyError as error:
        # It tells what is wrong with the video. What our own files raise, as on a full disk, is answered with 500.
        made.close()
        return JsonResponse({"error": str(error)}, status=422)
    made.seek(0)
    return FileResponse(made, as_attachment=True, filename=PurePath(video.name).stem + ".mp3")


urlpatterns = [path("mp3", mp3)]
application = get_wsgi_application()

if __name__ == "__main__":
    from django.core.management import execute_from_command_line

    execute_from_command_line(sys.argv)
